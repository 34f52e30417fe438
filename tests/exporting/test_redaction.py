"""What of a study's settings is handed on, and what is blanked."""

import pytest

from mbt_assets.exporting.redaction import without_secrets

KEPT = {
    "sampling": {"max_tokens": 8, "max_token": 8, "completion_tokens": 3, "extra": {"eos_token": "</s>"}},
    "server": {"requests_per_minute": 60.0, "tokens_per_minute": 9, "base_url": ["http://a/v1", "https://b:8000/v1"]},
    "api_key_env": "OPENAI_API_KEY",
    "options": {"tokenizer": "hf-internal-testing/tiny", "allow_credentials": True, "ssl_password": None},
    "spec": {"answer_key": "gold", "target_modules": ["key", "value"], "args": ["--max-tokens", "5", "--seed=1"]},
    "source": {"kind": "hub", "repo": "Qwen/Qwen3-8B", "path": "s3://bucket/weights", "files": "sha256:0f"},
    "stop": ["</s>", "Answer:", "Question: x=1"],
    "empty": [{}, []],
}


def test_what_is_no_secret_stays():
    assert without_secrets(KEPT) == KEPT


NAMES = (
    *("token", "hf_token", "authToken", "access-tokens", "authorization", "Proxy-Authorization", "bearer"),
    *("key", "api_key", "API-KEYS", "apikeys", "X-Api-Key", "OPENAI_API_KEY_2", "apiKey", "openai_key"),
    *("credentials", "awsCredential", "secret", "client_secret", "password", "dbpassword", "passwd"),
)


@pytest.mark.parametrize("name", NAMES)
def test_what_has_the_name_of_a_secret_is_blanked_in_any_spelling(name):
    hidden = {name: ["***", "***"], "n": {name: {"user": "***", "valid": True}}}
    assert without_secrets({name: ["x", 12], "n": {name: {"user": "x", "valid": True}}}) == hidden
    assert without_secrets([f"{name}=x y", f"{name}: Bearer x"]) == [f"{name}=***", f"{name}: ***"]
    assert without_secrets([f"--{name}", "x", "y"]) == [f"--{name}", "***", "y"]
    assert without_secrets({"name": name, "value": "x"}) == {"name": name, "value": "***"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/v1?key=abc&model=m#abc", "https://h/v1?key=***&model=***#***"),
        ("https://me:p@ss@h:1/v1?abc", "https://***@h:1/v1?***"),
        ("curl -H 'Authorization: Bearer abc' x", "curl -H 'Authorization: ***"),
        ('{"password": "abc"}\nnext', '{"password": "***\nnext'),
        ("serve m --api-key abc", "serve m --api-key ***"),
        ("FOO=1 HF_TOKEN=abc", "FOO=1 HF_TOKEN=***"),
        ("as bearer abc.def- here", "as bearer *** here"),
        ("it is sk-proj-0123456789, yes", "it is ***, yes"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\nabc", "***"),
    ],
)
def test_what_has_the_form_of_a_secret_is_blanked(text, shown):
    assert without_secrets({"extra": [text]}) == {"extra": [shown]}
