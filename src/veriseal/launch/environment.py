"""Variables that make the loader or an interpreter run other code than the program's own.

They are taken out, everything else is passed on. Pure.
Sources: ld.so(8), glibc's sysdeps/generic/unsecvars.h, bash(1), perlrun(1), python(1), ruby(1),
node(1), and the manuals of the tool kits.
"""

_NAMES = frozenset(
    name.encode()
    for name in (
        # glibc: tuning, converters, locales, host names
        "GLIBC_TUNABLES GCONV_PATH GETCONF_DIR LOCPATH NLSPATH HOSTALIASES LOCALDOMAIN "
        "RESOLV_HOST_CONF RES_OPTIONS TZDIR "
        # shells: files read and code run at start, and by `set -x`
        "BASH_ENV ENV SHELLOPTS BASHOPTS BASH_LOADABLES_PATH PS4 FPATH ZDOTDIR "
        # interpreters: modules, options, start-up files
        "PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE PYTHONPLATLIBDIR PYTHONEXECUTABLE "
        "PYTHONPYCACHEPREFIX PYTHONINSPECT PYTHONBREAKPOINT PYTHONWARNINGS "
        "PERL5LIB PERLLIB PERL5OPT PERL5DB "
        "RUBYLIB RUBYOPT GEM_HOME GEM_PATH NODE_OPTIONS NODE_PATH NODE_REPL_EXTERNAL_MODULE "
        "LUA_PATH LUA_CPATH LUA_INIT TCLLIBPATH GUILE_LOAD_PATH GUILE_LOAD_COMPILED_PATH "
        "PHPRC PHP_INI_SCAN_DIR CLASSPATH JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS _JAVA_OPTIONS "
        "DOTNET_STARTUP_HOOKS ERL_LIBS "
        # libraries that load plug-ins from a path
        "OPENSSL_CONF OPENSSL_ENGINES OPENSSL_MODULES SASL_PATH KRB5_CONFIG P11_KIT_DIR "
        "GTK_PATH GTK_MODULES GTK3_MODULES GTK_EXE_PREFIX GIO_MODULE_DIR GIO_EXTRA_MODULES "
        "GDK_PIXBUF_MODULE_FILE GDK_PIXBUF_MODULEDIR GI_TYPELIB_PATH GST_PLUGIN_PATH "
        "GST_PLUGIN_SYSTEM_PATH GST_PLUGIN_SCANNER QT_PLUGIN_PATH QT_QPA_PLATFORM_PLUGIN_PATH "
        "QML_IMPORT_PATH QML2_IMPORT_PATH LIBGL_DRIVERS_PATH GBM_BACKENDS_PATH "
        "LIBVA_DRIVERS_PATH VDPAU_DRIVER_PATH VK_ICD_FILENAMES VK_DRIVER_FILES VK_LAYER_PATH "
        "VK_ADD_LAYER_PATH VK_ADD_DRIVER_FILES OCL_ICD_VENDORS OCL_ICD_FILENAMES "
        "__EGL_VENDOR_LIBRARY_FILENAMES __EGL_VENDOR_LIBRARY_DIRS ALSA_CONFIG_PATH LADSPA_PATH "
        "SDL_DYNAMIC_API VK_IMPLICIT_LAYER_PATH VK_ADD_IMPLICIT_LAYER_PATH XR_RUNTIME_JSON "
        "XR_API_LAYER_PATH LIBDECOR_PLUGIN_DIR GALLIUM_PIPE_SEARCH_DIR PKCS11_PROVIDER_MODULE "
        "LV2_PATH SPA_PLUGIN_DIR PIPEWIRE_MODULE_DIR GTK_IM_MODULE_FILE "
        # browsers and their helpers
        "ELECTRON_RUN_AS_NODE QTWEBENGINEPROCESS_PATH QTWEBENGINE_CHROMIUM_FLAGS "
        "WEBKIT_EXEC_PATH WEBKIT_INJECTED_BUNDLE_PATH"
    ).split()
)

_PREFIXES = (
    b"LD_",  # the dynamic loader
    b"MALLOC_",
    b"BASH_FUNC_",  # exported functions replace the commands a script calls
    b"LUA_PATH_",
    b"LUA_CPATH_",
    b"LUA_INIT_",
    b"CORECLR_PROFILER",
    b"GST_REGISTRY",
    b"GST_PLUGIN_PATH_",
    b"GST_PLUGIN_SYSTEM_PATH_",
)


def clean(block: bytes) -> tuple[dict[bytes, bytes], list[str]]:
    """Split an environment block into what is passed on and the names of what is not.

    ``block`` is NUL-terminated ``NAME=VALUE`` entries as in /proc/PID/environ. That is the
    environment as the caller gave it; os.environ is not: CPython may have set LC_CTYPE in it
    (PEP 538). Of a name given twice the first counts, as for getenv(3); an entry without ``=``
    cannot be passed on.
    """
    kept: dict[bytes, bytes] = {}
    removed: list[str] = []
    for entry in block.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if not name or not equals:
            continue
        if name in _NAMES or name.startswith(_PREFIXES):
            removed.append(name.decode("utf-8", "backslashreplace"))
        else:
            kept.setdefault(name, value)
    return kept, removed
