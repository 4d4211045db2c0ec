"""A barcode scanner at the keyboard: all characters within a few milliseconds, Shift before each capital."""

# The events are made before the first is heard: a scanner does not wait for what the page does with a key.
SCAN = """([text, last]) => {
  const key = (name, shiftKey) => new KeyboardEvent("keydown", {key: name, shiftKey, bubbles: true, cancelable: true});
  const typed = [...text].flatMap((each) =>
    each === each.toLowerCase() ? [key(each, false)] : [key("Shift", true), key(each, true)]);
  for (const event of [...typed, key(last, false)]) (document.activeElement ?? document.body).dispatchEvent(event);
}"""
