# SPDX-License-Identifier: Apache-2.0
#
#   make demo     a chain, the daemon and a transaction, from nothing (ONCE=1: and exit)
#   make build    bin/hsmsigner, bin/devnet and bin/vault-plugin-hsmsigner
#   make test     every test: Go with the race detector, then end to end with real clients
#   make lint     formatting, vet, staticcheck, import boundaries
#   make screenshots  a picture of every page of the console in SHOTS (bin/screenshots)
#   make fuzz     each fuzz target for FUZZTIME (FUZZ=./internal/tx for one package)
#   make bench    speed beside the node itself and a bare proxy, as ratios (BENCH="-only send" …)
#   make soak     500 + 300 runs under random faults, with a checker; make soak-steady: 20 minutes at full rate

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := build

GO       ?= go
# A count, since a time can end a target that is at work with a false failure.
FUZZTIME ?= 100000x
FUZZ     ?= ./internal/...
SHOTS    ?= bin/screenshots
LINT     := $(GO) tool -modfile=tools/lint/go.mod golangci-lint

# With the race detector, but for what has no goroutines and is slow under it.
RACE := -race $(foreach package,golang.org/x/crypto/scrypt golang.org/x/crypto/pbkdf2,-gcflags=$(package)=-race=false)

# What the store does on the SQLite of a build without cgo, which is another one.
STATIC := SQLite|Parameters|Pragma|Unique|Values|Hook|FailedCommit|CrashKeeps|ReadOnly|RestoredBackup|Directory

.PHONY: demo build test tokens-check lint fmt fuzz bench soak soak-steady screenshots clean need-go clients servers vaultcore

need-go:
	@command -v $(GO) >/dev/null || { echo "HSM Signer is built with Go 1.26 or newer: https://go.dev/dl/" >&2; exit 1; }

demo: need-go
	@echo "compiling hsmsigner and devnet (the first time takes a few minutes) …"
	$(GO) build -trimpath -v -o bin/ ./cmd/hsmsigner ./cmd/devnet
	exec ./bin/hsmsigner demo $(if $(ONCE),--once)

build: need-go
	$(GO) build -trimpath -o bin/ ./cmd/hsmsigner ./cmd/devnet
	CGO_ENABLED=1 $(GO) build -trimpath -o bin/ ./cmd/vault-plugin-hsmsigner

# The JavaScript clients of the end-to-end tests, and the anvil and cast they run
# against, as npm packages with fixed versions.
clients: e2e/clients/node_modules/.package-lock.json

e2e/clients/node_modules/.package-lock.json: e2e/clients/package-lock.json
	@command -v npm >/dev/null || { echo "the client tests need Node.js 18 or newer with npm: apt-get install nodejs npm" >&2; exit 1; }
	cd e2e/clients && npm ci --no-audit --no-fund

# The database servers that the tests start for themselves, each on a free port.
servers:
	@for program in initdb pg_ctl postgres; do \
	  command -v $$program >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/$$program" >/dev/null || \
	  { echo "the tests of PostgreSQL need its server: apt-get install postgresql pgbouncer" >&2; exit 1; }; \
	done
	command -v pgbouncer >/dev/null || test -x /usr/sbin/pgbouncer || { echo "the tests behind a pooler need pgbouncer: apt-get install pgbouncer" >&2; exit 1; }
	command -v strace >/dev/null || { echo "the tests of a failing disk need strace: apt-get install strace" >&2; exit 1; }
	command -v softhsm2-util >/dev/null || { echo "the tests of PKCS#11 need SoftHSM: apt-get install softhsm2" >&2; exit 1; }
	test -n "$${HSMSIGNER_CHROMIUM:-}" || command -v chromium chromium-browser google-chrome >/dev/null || { echo "the tests of the console need Chromium: apt-get install chromium fonts-liberation" >&2; exit 1; }
	python3 -c 'import venv, ensurepip' 2>/dev/null || { echo "the tests of AWS KMS and of the OpenAPI document need Python 3.11 with venv: apt-get install python3 python3-venv" >&2; exit 1; }

# The core of HashiCorp Vault, against which its adapter and our plugin are tested. A
# module of its own: nothing of it gets into the product. The first build takes minutes
# and stays in the build cache; the tests build it by themselves too.
vaultcore: need-go
	cd e2e/vaultcore && $(GO) build -o /dev/null .

# The tokens' bytecode must be what the compiler makes of their sources, byte for byte.
tokens-check:
	@command -v npm >/dev/null || { echo "the tokens are compiled with Node.js 18 or newer and npm: apt-get install nodejs npm" >&2; exit 1; }
	cd tools/tokens && npm ci --no-audit --no-fund && node build.mjs --check

# The end-to-end tests build the programs without the race detector: they measure
# and kill them. One summary counts both runs, and fails on a skipped test too.
test: need-go clients servers vaultcore tokens-check
	$(GO) vet ./...
	$(GO) build -o bin/ ./tools/testsum
	{ status=0
	  $(GO) test -json -vet=off $(RACE) -timeout 30m ./client/... ./cmd/... ./internal/... ./tools/... || status=1
	  $(GO) test -json -vet=off $(RACE) -tags faultpoints ./internal/faultpoint || status=1
	  CGO_ENABLED=0 $(GO) test -json -vet=off -run '$(STATIC)' ./internal/sqlite ./internal/store || status=1
	  $(GO) test -json -vet=off -timeout 30m ./e2e/... || status=1
	  exit $$status
	} | ./bin/testsum

lint: need-go
	$(GO) mod tidy -diff
	$(LINT) fmt --diff
	$(LINT) run

fmt: need-go
	$(LINT) fmt

fuzz: need-go
	for package in $$($(GO) list $(FUZZ)); do
	  tests=$$($(GO) test -list '^Fuzz' $$package)
	  for target in $$(grep '^Fuzz' <<<"$$tests" || true); do
	    echo "$$package $$target"
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package
	  done
	done

bench: need-go
	$(GO) run ./e2e/bench $(BENCH)

# Every page of the console: light and dark, for a desk and for a pocket (375 px).
screenshots: need-go clients
	HSMSIGNER_SCREENSHOTS=$(abspath $(SHOTS)) $(GO) test -count=1 -run '^TestEveryPage$$' ./e2e/console
	@echo "$$(ls $(SHOTS) | wc -l) pictures in $(SHOTS)"

soak: need-go
	$(GO) run ./e2e/fault/soak -json soak.json

soak-steady: need-go
	$(GO) run ./e2e/fault/soak -steady 20m -json steady.json

clean:
	rm -rf bin e2e/clients/node_modules tools/tokens/node_modules
