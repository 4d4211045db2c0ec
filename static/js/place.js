// Where the case stands in the list that the reader came from: "3 of 7", with the cases before and after it.

import { gettext, interpolate } from "./words.js";

const KEY = "leukoweb-list"; // of this tab: the query of the worklist as it was left

/** Remember the list that is shown, for the cases that are opened from it. */
export function rememberList() {
  sessionStorage.setItem(KEY, location.search);
}

/**
 * @param {(name: string) => any} part
 * @param {{ place: string, worklist: string }} urls
 */
export async function showPlace(part, urls) {
  const query = sessionStorage.getItem(KEY) ?? "";
  part("list").href = urls.worklist + query;
  const answer = await fetch(urls.place + query).catch(() => null);
  if (!answer?.ok) return;
  const { number, all, previous, next } = await answer.json();
  if (!number) return;
  part("place-words").textContent = interpolate(gettext("%(number)s of %(all)s"), { number, all });
  for (const [name, url] of [["place-previous", previous], ["place-next", next]]) {
    part(name).hidden = !url;
    if (url) part(name).href = url;
  }
  part("place").hidden = false;
}
