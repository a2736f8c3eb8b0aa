"""Boot: the agent in the initrd. Imports nothing of `build` or `launch`."""

import os

# Without it `cryptography` dies at import where OpenSSL's legacy provider is missing, as in an
# initrd; nothing here needs that provider.
os.environ.setdefault("CRYPTOGRAPHY_OPENSSL_NO_LEGACY", "1")
