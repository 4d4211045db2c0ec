"""The one settings file: what a deployment may change is read from the environment (see .env.example)."""

import os
import secrets
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import NONCE
from django.core.exceptions import ImproperlyConfigured
from kombu import Queue

from leukoweb import __version__
from leukoweb.accounts.roles import ROLES
from leukoweb.places import ASSETS, PACKAGE, home
from leukoweb.processes import broker_socket

VERSION = __version__
env = environ.Env()
ENV_FILE = Path(env.str("LEUKOWEB_ENV_FILE", str(home() / ".env")))
if ENV_FILE.is_file():
    environ.Env.read_env(ENV_FILE)


def _kept_secret(folder: Path) -> str:
    """Return this installation's own secret key, made on first use and readable by its owner only."""
    path = folder / "secret_key"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(50))
    return path.read_text().strip()


# --- where things lie -------------------------------------------------------------------------------------------
DATA_DIR = Path(env.str("LEUKOWEB_DATA_DIR", str(home() / "data"))).resolve()
S3_BUCKET = env.str("LEUKOWEB_S3_BUCKET", "")  # where the store is; empty: a folder
FOLDER_STORE_DIR = DATA_DIR / "store"
STORE_DIR = DATA_DIR / "s3-copies" if S3_BUCKET else FOLDER_STORE_DIR  # with a bucket: copies of what is needed here
S3_CACHE_BYTES = env.int("LEUKOWEB_S3_CACHE_MB", 20480) * 2**20
LAST_BACKUP_FILE = DATA_DIR / "last-backup.json"
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "incoming"
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_HANDLERS = ["leukoweb.cases.streaming.StreamToOwnFolder"]
DATA_UPLOAD_MAX_NUMBER_FILES = None  # the handler counts, and says which files were too many

DEBUG = env.bool("LEUKOWEB_DEBUG", False)
SECRET_KEY = env.str("LEUKOWEB_SECRET_KEY", "") or _kept_secret(DATA_DIR)
FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)

# --- web --------------------------------------------------------------------------------------------------------
ALLOWED_HOSTS = env.list("LEUKOWEB_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("LEUKOWEB_TRUSTED_ORIGINS", default=[])
IS_HTTPS = env.bool("LEUKOWEB_HTTPS", False)
ROOT_URLCONF = "leukoweb.urls"
WSGI_APPLICATION = "leukoweb.wsgi.application"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "crispy_forms",
    "crispy_bootstrap5",
    "rest_framework",
    "drf_spectacular",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "axes",
    "django_prometheus",
    "leukoweb.accounts",
    "leukoweb.audit",
    "leukoweb.cases",
    "leukoweb.analysis",
    "leukoweb.review",
    "leukoweb.delivery",
    "leukoweb.api",
    "leukoweb.ops",
]

MIDDLEWARE = [
    "leukoweb.requests.name_requests",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_permissions_policy.PermissionsPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "leukoweb.bodies.limit_bodies",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "leukoweb.accounts.language.own_language",
    "leukoweb.accounts.time_zone.own_time_zone",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "leukoweb.answers.Refusals",
    "leukoweb.given.GuardRequests",
    "leukoweb.accounts.middleware.idle_sign_out",
    "leukoweb.accounts.middleware.AccountGates",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ASSETS / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["leukoweb.sentences"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
                "csp.context_processors.nonce",
                "leukoweb.accounts.context.product",
                "leukoweb.delivery.context.undelivered_results",
                "leukoweb.ops.context.demonstration",
            ],
        },
    }
]

CRISPY_ALLOWED_TEMPLATE_PACKS = CRISPY_TEMPLATE_PACK = "bootstrap5"

STATIC_URL = "static/"
STATIC_ROOT = env.str("LEUKOWEB_STATIC_DIR", str(DATA_DIR / "static"))
STATICFILES_DIRS = [ASSETS / "static"]
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": env.str("LEUKOWEB_STATICFILES_BACKEND", "leukoweb.static_files.CompressedStaticFiles")},
}
if S3_BUCKET:
    STORAGES["store"] = {
        "BACKEND": "leukoweb.cases.s3.Bucket",
        "OPTIONS": {
            "bucket_name": S3_BUCKET,
            "location": env.str("LEUKOWEB_S3_PREFIX", ""),
            "endpoint_url": env.str("LEUKOWEB_S3_ENDPOINT", "") or None,
            "region_name": env.str("LEUKOWEB_S3_REGION", "") or None,
            "access_key": env.str("LEUKOWEB_S3_ACCESS_KEY", "") or None,
            "secret_key": env.str("LEUKOWEB_S3_SECRET_KEY", "") or None,
        },
    }

# --- the product ------------------------------------------------------------------------------------------------
IS_RESEARCH_USE = env.bool("LEUKOWEB_RESEARCH_USE", True)  # S11: the owner's one setting
SOURCE_URL = env.str("LEUKOWEB_SOURCE_URL", "https://github.com/leukoweb/leukoweb")  # AGPL: offered in the footer
MAX_IMAGE_BYTES = env.int("LEUKOWEB_MAX_IMAGE_MB", 1024) * 2**20
MAX_SLIDE_BYTES = env.int("LEUKOWEB_MAX_SLIDE_MB", 4096) * 2**20  # of a whole slide, packed and unpacked
MAX_UPLOAD_BYTES = max(MAX_IMAGE_BYTES, MAX_SLIDE_BYTES)  # what a file is shows when it is here
SLIDE_BLOCKS = env.int("LEUKOWEB_SLIDE_BLOCKS", 150)  # of 0.3 x 0.3 mm: most that are read of a whole slide
SLIDE_CACHE_BYTES = env.int("LEUKOWEB_SLIDE_CACHE_MB", 2048) * 2**20  # viewer tiles of whole slides
MOST_IMAGES = 2000  # of one slide, and of one request
# What checking the files of one request may take, waiting included: less than the proxy waits for an answer.
CHECK_LIMIT_S, CHECK_BASE_S, CHECK_FILE_S, CHECK_MIB_S = 240, 30, 0.2, 0.1
DECODERS = max(2, (os.cpu_count() or 2) // 2)  # processes that decode uploads at once, over all web processes
CHECK_PART_S = 10  # for files that came in pieces: the page asks again until all are checked
GOAL_STAT_MIN = env.int("LEUKOWEB_GOAL_STAT_MIN", 60)  # from receipt to signature: the worklist says who waits longer
GOAL_ROUTINE_MIN = env.int("LEUKOWEB_GOAL_ROUTINE_MIN", 24 * 60)
RETENTION_DAYS = env.int("LEUKOWEB_RETENTION_DAYS", 0)  # 0: images are kept for ever
DISK_RESERVE_BYTES = env.int("LEUKOWEB_DISK_RESERVE_MB", 512) * 2**20  # kept free of uploads
UPLOAD_QUOTA_BYTES = env.int("LEUKOWEB_UPLOAD_QUOTA_MB", 8192) * 2**20  # unfinished uploads of one person
UPLOAD_KEEP = timedelta(hours=env.int("LEUKOWEB_UPLOAD_KEEP_HOURS", 24))  # then an unfinished upload is thrown away
DEMO_PASSWORD = env.str("LEUKOWEB_DEMO_PASSWORD", "")
METRICS_TOKEN = env.str("LEUKOWEB_METRICS_TOKEN", "")
BACKUP_MAX_AGE = timedelta(hours=env.int("LEUKOWEB_BACKUP_MAX_AGE_H", 26))  # then `leukoweb doctor` complains
DEVICE = env.str("LEUKOWEB_DEVICE", "auto")
INFERENCE_BACKEND = env.str("LEUKOWEB_INFERENCE_BACKEND", "auto")

# --- database ---------------------------------------------------------------------------------------------------
# A server that takes connections and never answers, or whose machine is gone, is told as one that is away; libpq waits
# for ever for the first and a quarter of an hour for the other.
POSTGRESQL = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    # Compiling the worklist's query takes PostgreSQL three times as long as running it.
    "options": "-c jit=off",
}
DATABASES = {"default": env.db("DATABASE_URL", f"sqlite:///{DATA_DIR / 'leukoweb.sqlite3'}")}
DATABASES["default"]["ATOMIC_REQUESTS"] = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # WAL lets pages be read while the worker writes; IMMEDIATE takes the write lock at BEGIN, so no upgrade deadlocks.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = env.int("LEUKOWEB_DB_CONN_MAX_AGE", 60)
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"]["OPTIONS"] = POSTGRESQL | DATABASES["default"].get("OPTIONS", {})

# Limits by address and used codes count over all web processes: the folder is theirs in common.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": str(DATA_DIR / "cache"),
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    }
}

# --- accounts ---------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",  # first: a locked account is not even tried
    "leukoweb.accounts.sign_in.AuthenticationBackend",
]
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign_in"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
IDLE_LIMIT_S = env.int("LEUKOWEB_IDLE_MINUTES", 15) * 60  # S7: signed out by the server
SECOND_FACTOR_ROLES = env.list("LEUKOWEB_SECOND_FACTOR_ROLES", default=[])  # such as pathologist,admin
if UNKNOWN_ROLES := set(SECOND_FACTOR_ROLES) - ROLES.keys():
    raise ImproperlyConfigured(f"LEUKOWEB_SECOND_FACTOR_ROLES names {UNKNOWN_ROLES}; the roles are {', '.join(ROLES)}.")
PASSWORD_RESET_TIMEOUT = env.int("LEUKOWEB_INVITATION_HOURS", 72) * 3600
PROXIES = 1 if env.bool("LEUKOWEB_BEHIND_PROXY", False) else 0

AXES_FAILURE_LIMIT = env.int("LEUKOWEB_LOCKOUT_FAILURES", 5)  # S6
AXES_COOLOFF_TIME = timedelta(minutes=env.int("LEUKOWEB_LOCKOUT_MINUTES", 30))
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]  # whoever guesses from elsewhere locks nobody out
LOCKOUT_FAILURES_BY_NAME = env.int("LEUKOWEB_LOCKOUT_FAILURES_BY_NAME", 50)  # from all addresses together
AXES_USERNAME_CALLABLE = "leukoweb.accounts.lockout.name_of_credentials"
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True  # the audit has it
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
AXES_IPWARE_PROXY_COUNT = PROXIES
# The sign-in form says itself that an account is locked; a lock by address would lock a whole hospital out.
SILENCED_SYSTEM_CHECKS = ["axes.W002", "axes.W006"]

ACCOUNT_ADAPTER = "leukoweb.accounts.sign_in.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "leukoweb.accounts.sign_in.SignInForm",
    "change_password": "leukoweb.accounts.sign_in.PasswordForm",
}
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_LOGOUT_REDIRECT_URL = LOGOUT_REDIRECT_URL
ACCOUNT_RATE_LIMITS = {"login": "60/m/ip", "login_failed": "100/10m/ip"}  # beside the lock-out, which counts by name
ALLAUTH_TRUSTED_PROXY_COUNT = PROXIES
USERSESSIONS_ADAPTER = "leukoweb.accounts.sign_in.SessionsAdapter"
MFA_ADAPTER = "leukoweb.accounts.second_factor.SecondFactorAdapter"
MFA_FORMS = {
    "authenticate": "leukoweb.accounts.second_factor.CodeForm",
    "reauthenticate": "leukoweb.accounts.second_factor.ConfirmForm",
}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_ALLOW_UNVERIFIED_EMAIL = True  # accounts are made by administrators
MFA_TOTP_ISSUER = "LeukoWeb"
MFA_TOTP_TOLERANCE = 1  # steps of 30 s: clocks drift, and typing takes time (RFC 6238, 5.2)
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not IS_HTTPS
SOCIALACCOUNT_ADAPTER = "leukoweb.accounts.sign_in.HospitalAdapter"
SOCIALACCOUNT_PROVIDERS = {}
if OIDC_SERVER := env.str("LEUKOWEB_OIDC_SERVER", ""):  # the hospital's identity provider
    SOCIALACCOUNT_PROVIDERS["openid_connect"] = {
        "APPS": [
            {
                "provider_id": "hospital",
                "name": env.str("LEUKOWEB_OIDC_NAME", "your hospital account"),
                "client_id": env.str("LEUKOWEB_OIDC_CLIENT_ID"),
                "secret": env.str("LEUKOWEB_OIDC_SECRET"),
                "settings": {"server_url": OIDC_SERVER},
            }
        ],
        "OAUTH_PKCE_ENABLED": True,
    }

SESSION_COOKIE_AGE = env.int("LEUKOWEB_SESSION_HOURS", 12) * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_HTTPS
if IS_HTTPS:  # browsers then take these cookies from this host alone
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"

# --- headers ----------------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'", NONCE],
        "img-src": ["'self'", "data:", "blob:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        # A form may lead to the identity provider.
        "form-action": ["'self'", *(["{0.scheme}://{0.netloc}".format(urlsplit(OIDC_SERVER))] if OIDC_SERVER else [])],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}
PERMISSIONS_POLICY: dict[str, list[str]] = {
    name: [] for name in ("camera", "geolocation", "microphone", "payment", "usb")
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_SSL_REDIRECT = IS_HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_HTTPS
if PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- queue: the row is the truth, the broker only notifies -------------------------------------------------------
CELERY_BROKER_URL = env.str("BROKER_URL", "") or f"redis+socket://{broker_socket(DATA_DIR)}"
RUN_HARD_LIMIT_S = env.int("LEUKOWEB_RUN_HARD_LIMIT_S", 1800)
RUN_MAX_ATTEMPTS = 3
# What is estimated to take longer waits in a queue of its own, so that it never stands before the short ones.
LONG_RUN_S = env.int("LEUKOWEB_LONG_RUN_S", 300)
# Red cells and platelets come last: help that nobody waits for.
RUNS_QUEUE, LONG_RUNS_QUEUE, FILM_QUEUE = "runs", "long", "film"
# A worker takes all four, in this order within one precedence; `-Q` limits it to some.
CELERY_TASK_QUEUES = [Queue("celery"), Queue(RUNS_QUEUE), Queue(LONG_RUNS_QUEUE), Queue(FILM_QUEUE)]
CELERY_TASK_ROUTES = {
    "leukoweb.analysis.tasks.run_detection": {"queue": RUNS_QUEUE},
    "leukoweb.analysis.tasks.count_film": {"queue": FILM_QUEUE},
}
WORKERS = env.int("LEUKOWEB_WORKERS", 1)  # how many must answer for /health/ to be content
RUN_SILENT_LIMIT_S = env.int("LEUKOWEB_RUN_SILENT_LIMIT_S", 30)  # a worker that says nothing so long is lost
SWEEP_AFTER_S = env.int("LEUKOWEB_SWEEP_AFTER_S", 30)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = RUN_HARD_LIMIT_S
CELERY_TASK_SOFT_TIME_LIMIT = int(0.9 * RUN_HARD_LIMIT_S)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": int(1.1 * RUN_HARD_LIMIT_S),
    "priority_steps": [0, 9],
    "queue_order_strategy": "priority",
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    # A page must say "queued" at once while the broker is away: the sweep sends the run later.
    "max_retries": 0,
}
CELERY_TASK_PUBLISH_RETRY = False
SWEEP_EVERY_S = env.int("LEUKOWEB_SWEEP_EVERY_S", 15)
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
HOURLY = {"schedule": timedelta(hours=1), "options": {"expires": 3600}}
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "leukoweb.analysis.tasks.sweep",
        "schedule": timedelta(seconds=SWEEP_EVERY_S),
        "options": {"expires": SWEEP_EVERY_S, "priority": 0},
    },
    "flags": {
        "task": "leukoweb.review.tasks.store_flags",
        "schedule": timedelta(seconds=SWEEP_EVERY_S),
        "options": {"expires": SWEEP_EVERY_S},
    },
    "film": {
        "task": "leukoweb.review.tasks.ask_film_counts",
        "schedule": timedelta(seconds=SWEEP_EVERY_S),
        "options": {"expires": SWEEP_EVERY_S},
    },
    "criticals": {
        "task": "leukoweb.review.tasks.escalate_criticals",
        "schedule": timedelta(seconds=30),
        "options": {"expires": 30, "priority": 0},
    },
    "audit-head": {"task": "leukoweb.audit.tasks.keep_head", **HOURLY},
    "sessions": {"task": "leukoweb.accounts.tasks.clear_sessions", **HOURLY},
    "results": {
        "task": "leukoweb.delivery.tasks.deliver_results",
        "schedule": timedelta(seconds=10),
        "options": {"expires": 10, "priority": 0},
    },
}
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "beat-schedule")

# --- interfaces -------------------------------------------------------------------------------------------------
MLLP_TLS_CERT = env.str("LEUKOWEB_MLLP_TLS_CERT", "")
MLLP_TLS_KEY = env.str("LEUKOWEB_MLLP_TLS_KEY", "")
MLLP_TLS_CA = env.str("LEUKOWEB_MLLP_TLS_CA", "")
FHIR_TOKENS = env.dict("LEUKOWEB_FHIR_TOKENS", default={})  # host of a FHIR server to the bearer token for it

# --- notices of critical results --------------------------------------------------------------------------------
IS_MAIL_ON = bool(EMAIL_URL := env.str("LEUKOWEB_EMAIL_URL", ""))  # such as smtp+tls://user:password@mail.hospital:587
if IS_MAIL_ON:
    vars().update(env.email_url_config(EMAIL_URL))
    if vars()["EMAIL_BACKEND"] == "django.core.mail.backends.smtp.EmailBackend":
        EMAIL_BACKEND = "leukoweb.outgoing.Mail"
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("LEUKOWEB_EMAIL_FROM", "leukoweb@localhost")
WEBHOOK_SECRET = env.str("LEUKOWEB_WEBHOOK_SECRET", "")

# --- API --------------------------------------------------------------------------------------------------------
TOKEN_MAX_DAYS = env.int("LEUKOWEB_TOKEN_MAX_DAYS", 90)
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "leukoweb.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PARSER_CLASSES": [
        "leukoweb.api.parsers.GuardedJson",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 100,
    "EXCEPTION_HANDLER": "leukoweb.api.errors.answer_in_words",
    "DEFAULT_THROTTLE_RATES": {
        "token": env.str("LEUKOWEB_TOKEN_RATE", "30/min"),
        "upload": env.str("LEUKOWEB_UPLOAD_RATE", "600/min"),
    },
    "NUM_PROXIES": PROXIES,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "LeukoWeb",
    "DESCRIPTION": "Cases, slides, cells, decisions and reports. Research use, not a medical device.",
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "CaseState": "leukoweb.cases.models.STATES",
        "ErrorCode": "leukoweb.api.serializers.ERROR_CODES",
        "RunState": "leukoweb.analysis.models.Run.State",
    },
}

# --- figures ---
if METRICS_DIR := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):  # where the web processes keep their figures together
    Path(METRICS_DIR).mkdir(parents=True, exist_ok=True)

# --- language, time, log ----------------------------------------------------------------------------------------
LANGUAGES = [("en", "English"), ("de", "Deutsch")]  # each by its own name
LANGUAGE_CODE = env.str("LEUKOWEB_LANGUAGE", "en")  # of who has chosen none and whose browser asks for none of them
if LANGUAGE_CODE not in dict(LANGUAGES):
    raise ImproperlyConfigured(f"LEUKOWEB_LANGUAGE is {LANGUAGE_CODE}; there are {', '.join(dict(LANGUAGES))}.")
LOCALE_PATHS = [PACKAGE / "locale"]
FORMAT_MODULE_PATH = ["leukoweb.formats"]
TIME_ZONE = env.str("LEUKOWEB_TIME_ZONE", "UTC")
USE_TZ = True
LOG_FORMAT = env.str("LEUKOWEB_LOG_FORMAT", "line")
if LOG_FORMAT not in ("line", "json"):
    raise ImproperlyConfigured(f"LEUKOWEB_LOG_FORMAT is {LOG_FORMAT!r}; it can be line or json.")
TRACES_URL = env.str("LEUKOWEB_TRACES_URL", "")  # of a collector of OpenTelemetry
if TRACES_URL and find_spec("opentelemetry") is None:
    raise ImproperlyConfigured(
        "LEUKOWEB_TRACES_URL is set, but its libraries are not there: pip install 'leukoweb[traces]'"
    )
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "leukoweb.logs.Line", "format": "{asctime} {levelname} {name} {message}", "style": "{"},
        "json": {"()": "leukoweb.logs.JsonLine"},
    },
    "filters": {"numbers": {"()": "leukoweb.logs.HideNumbers"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT, "filters": ["numbers"]}},
    "root": {"handlers": ["console"], "level": env.str("LEUKOWEB_LOG_LEVEL", "INFO")},
    # At DEBUG the template engine and the database print values of pages and queries, patients too: never.
    "loggers": {
        name: {"level": "WARNING"}
        for name in ("axes", "django.db.backends", "django.template", "fontTools", "weasyprint")
    },
}

if not DEBUG and ("insecure" in SECRET_KEY or len(SECRET_KEY) < 32 or len(set(SECRET_KEY)) < 10):
    raise ImproperlyConfigured(
        "LEUKOWEB_SECRET_KEY is an example or easy to guess: give this installation a key of its own, at least 32 "
        "random characters, such as from `openssl rand -hex 32`; or leave it out, then one is made and kept."
    )
