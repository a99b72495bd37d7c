// SPDX-License-Identifier: Apache-2.0
// Runs before the page is painted, so that it does not flash in the other theme.
(() => {
  "use strict";
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  } catch { /* no storage: the system's choice counts */ }
})();
