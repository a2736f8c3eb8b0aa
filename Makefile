PYTHON ?= /usr/bin/python3
KERNEL ?= debian13
DESTDIR ?=
LIB := $(DESTDIR)/usr/lib

guest:
	@$(PYTHON) -m tests.guest --kernel $(KERNEL) $(if $(TIMEOUT),--timeout $(TIMEOUT)) $(SCRIPT) $(ARGS)

install:
	install -d $(LIB)/veriseal $(DESTDIR)/usr/bin
	if [ -d src/veriseal ]; then cp -R src/veriseal $(LIB)/veriseal/; fi

.PHONY: guest install
