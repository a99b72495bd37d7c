// SPDX-License-Identifier: Apache-2.0
//
// Deploys an ERC-20 and an ERC-721 token from the console in Chromium, by a signing
// account that is chosen there, and transfers of the first:
//
//     node console.mjs CHROMIUM ADMIN-URL PATH-OF-THE-TOKENS ACCOUNT TO
//
// with an API key in API_KEY. It prints "ok - …" for each thing that holds, and ends
// with 1 at the first that does not.
import { choose, holds, signedIn } from "./browser.mjs";

const [, , executablePath, admin, path, account, to] = process.argv;

await signedIn(executablePath, admin, async (page) => {
  // deployed loads the token's page until it has an address.
  const deployed = async () => {
    for (let i = 0; i < 240; i++) {
      const text = await page.locator("main").innerText();
      if (text.includes("What this wallet has")) return text;
      await page.waitForTimeout(500);
      await page.reload();
    }
    throw new Error("the token is not on the chain");
  };

  const deploy = async (type, fields) => {
    await page.goto(`${admin}${path}/new?type=${type}`);
    const form = page.locator("form", { has: page.locator('button:has-text("Deploy it")') });
    await choose(form.getByLabel("Signing account"), account);
    for (const [name, value] of Object.entries(fields)) await form.locator(`[name=${name}]`).fill(value);
    await form.locator("[name=mintable]").check();
    await form.locator('button:has-text("Deploy it")').click();
    await page.waitForURL((u) => u.pathname.includes("/at/"));
    return deployed();
  };

  const single = await deploy("erc721", { name: "Console Deeds", symbol: "DEED", supply: "3", register: "deeds" });
  if (!single.includes("Console Deeds")) throw new Error(single);
  holds("an ERC-721 is deployed");

  const coin = await deploy("erc20", { name: "Console Coin", symbol: "CCN", decimals: "2", supply: "1000", register: "coin" });
  if (!coin.includes("Console Coin")) throw new Error(coin);
  holds("an ERC-20 is deployed");

  const transfer = page.locator("details", { has: page.locator("summary", { hasText: /^\s*Transfer/ }) });
  if (!(await transfer.getAttribute("open"))) await transfer.locator("summary").first().evaluate((s) => { s.parentElement.open = true; });
  const form = transfer.locator("form");
  await choose(form.getByLabel("Signing account"), account);
  await form.locator("[name=to]").fill(to);
  await form.locator("[name=amount]").fill("12.5");
  await form.locator('button:has-text("Transfer")').click();
  await page.waitForURL((u) => u.pathname.includes("/transactions/"));
  holds("a transfer is sent, and its page shows it");
});
