// What the upload page says and checks of a file before it is sent. Pure but for reading and hashing.

import { decimal, gettext, interpolate } from "./words.js";

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1024) return interpolate(gettext("%(bytes)s bytes"), { bytes });
  const mib = bytes / 2 ** 20;
  return mib < 1 ? `${Math.round(bytes / 1024)} KiB` : `${mib < 10 ? decimal(mib, 1) : Math.round(mib)} MiB`;
}

/**
 * Why a file cannot be sent; "" where it can.
 * @param {{ size: number }} file
 * @param {boolean} isFolder
 * @param {number} maxBytes
 */
export function problemOf(file, isFolder, maxBytes) {
  if (isFolder) return gettext("This is a folder: open it and choose the pictures inside.");
  if (file.size > maxBytes) return interpolate(gettext("The file is larger than the limit of %(size)s."), { size: size(maxBytes) });
  return file.size === 0 ? gettext("The file is empty: copy it again from the microscope.") : "";
}

/** @param {File} file */
export async function isReadable(file) {
  return file.slice(0, 1).arrayBuffer().then(() => true, () => false);
}

const END_BYTES = 64 * 1024;

/**
 * Tell a file from others of its name, size and time: the hash of its name and of its first and last bytes. The name may
 * be a patient's: only the hash is kept by the browser, and only until the tab is closed.
 * @param {File} file
 */
export async function digest(file) {
  const ends = [file.name, file.slice(0, END_BYTES), file.slice(-END_BYTES)];
  const bytes = new Uint8Array(await new Blob(ends).arrayBuffer());
  if (!crypto.subtle) return bytes.reduce((sum, byte) => (sum * 31 + byte) >>> 0, 7).toString(16);
  return [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].map((byte) => byte.toString(16)).join("");
}
