// The token that forms and requests carry, as the browser holds it now: whoever signed in again in another tab since this
// page was loaded has a new one.

export function csrfToken() {
  return /(?:^|;\s*)(?:__Host-)?csrftoken=([^;]+)/.exec(document.cookie)?.[1] ?? "";
}
