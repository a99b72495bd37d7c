// SPDX-License-Identifier: Apache-2.0

// Package console tests the web console as people use it: the daemon as it is
// shipped, real key backends, a chain, and Chromium without a window.
//
// browser.mjs drives Chromium with playwright-core, which `npm ci` installs in
// e2e/clients with axe-core; Debian's package chromium is the browser, or the
// program that HSMSIGNER_CHROMIUM names. With HSMSIGNER_SCREENSHOTS, TestEveryPage
// writes a picture of every page into the folder of that name.
package console
