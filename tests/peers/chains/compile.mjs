// Compiles contracts/Token.sol to contracts/Token.json: node compile.mjs [--check]
import { readFileSync, writeFileSync } from "node:fs";
import solc from "solc";

const here = new URL("contracts/", import.meta.url);
const input = {
  language: "Solidity",
  sources: { "Token.sol": { content: readFileSync(new URL("Token.sol", here), "utf8") } },
  settings: {
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["evm.bytecode.object", "evm.methodIdentifiers"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const errors = (output.errors ?? []).filter((each) => each.severity === "error");
if (errors.length) throw new Error(errors.map((each) => each.formattedMessage).join("\n"));
const made = Object.fromEntries(
  Object.entries(output.contracts["Token.sol"]).map(([name, contract]) => [
    name,
    { bytecode: "0x" + contract.evm.bytecode.object, methods: contract.evm.methodIdentifiers },
  ]),
);
const text = JSON.stringify(made, null, 2) + "\n";
const file = new URL("Token.json", here);
if (process.argv.includes("--check")) {
  if (readFileSync(file, "utf8") !== text) throw new Error("contracts/Token.json is stale: node compile.mjs");
} else {
  writeFileSync(file, text);
}
