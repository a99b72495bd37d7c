// SPDX-License-Identifier: Apache-2.0
//
// What the scripts of this folder have in common: Chromium, somebody who has signed in
// with the API key in API_KEY, and what is printed of each thing that holds.
import { createRequire } from "node:module";

const clients = createRequire(new URL("../clients/package.json", import.meta.url));
const { chromium } = clients("playwright-core");

export const holds = (what) => console.log(`ok - ${what}`);

// signedIn runs what somebody does who has signed in; what prepares the page comes
// before. At the first thing that cannot be done it prints why, with what the page
// shows, and the program ends with 1.
export const signedIn = async (executablePath, admin, act, prepare) => {
  const browser = await chromium.launch({
    executablePath, timeout: 120000,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
  });
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 1000 } })).newPage();
  try {
    page.setDefaultTimeout(90000);
    await prepare?.(page);
    await page.goto(`${admin}/`);
    await page.fill("[name=key]", process.env.API_KEY);
    await page.click('button:has-text("Sign in")');
    await page.locator("body", { hasText: "Overview" }).waitFor();
    await act(page);
  } catch (e) {
    console.error(`${e.message}\n${page.url()}\n${await page.locator("body").innerText()}`);
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
};

// choose picks an account in a list, however its address is written.
export const choose = async (select, account) => {
  let values = [], mine;
  for (const end = Date.now() + 90000; !mine && Date.now() < end;) { // a page may have to ask for them first
    values = await select.locator("option").evaluateAll((all) => all.map((o) => o.value));
    mine = values.find((v) => v.toLowerCase() === account.toLowerCase());
    if (!mine) await select.page().waitForTimeout(100);
  }
  if (!mine) throw new Error(`the accounts to sign with are ${values}`);
  await select.selectOption(mine);
};
