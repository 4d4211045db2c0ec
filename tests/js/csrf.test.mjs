// The token is the browser's of now, not the page's: decisions that waited over a new sign-in are stored.
import assert from "node:assert/strict";
import test from "node:test";

import { csrfToken } from "../../static/js/csrf.js";

test("the token is read from the browser at each request, because a new sign-in replaces it", () => {
  globalThis.document = { cookie: "theme=dark; csrftoken=old" };
  assert.equal(csrfToken(), "old");
  globalThis.document.cookie = "csrftoken=new; theme=dark; other_csrftoken=x";
  assert.equal(csrfToken(), "new");
  globalThis.document.cookie = "theme=dark; __Host-csrftoken=of-https";
  assert.equal(csrfToken(), "of-https");
  globalThis.document.cookie = "";
  assert.equal(csrfToken(), "");
});
