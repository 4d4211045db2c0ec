"""The OpenAPI schema against the running interface: requests that schemathesis makes from it end in no server error."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from tests.conftest import PASSWORD


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.parametrize("examples", [4, pytest.param(10, marks=pytest.mark.nightly)])
def test_no_request_that_the_schema_allows_or_forbids_is_a_server_error(
    live_server, technologist, make_case, make_slide, examples
):
    import schemathesis  # here: it takes seconds, in each process that collects
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance

    slide = make_slide(make_case("A-1"), {"NGS": 3, "MYO": 1})
    real = {"accession_number": "A-1", "id": slide.pk}
    token = APIClient().post("/api/v1/token/", {"username": technologist.username, "password": PASSWORD}, "json").json()
    headers = {"Authorization": f"Token {token['token']}"}
    schema = schemathesis.openapi.from_url(f"{live_server.url}/api/v1/schema/?format=json")
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.startswith("/api/v1/token/"):
            continue  # its throttle and lock-out would answer for it; test_api.py asks it

        @given(case=operation.as_strategy(), is_real=st.booleans())
        @settings(_settings, max_examples=examples)
        def ask(case, is_real):
            nonlocal tried
            tried += 1
            if is_real and case.path_parameters:
                case.path_parameters = {name: real[name] for name in case.path_parameters}
            case.call_and_validate(headers=headers, checks=[not_a_server_error, response_schema_conformance])

        ask()
    assert tried > 50


_settings = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
