# Crier's tasks. `make help` lists them.
SHELL := /bin/sh
GOLANGCI_VERSION := v2.15.0
GOLANGCI := .tools/golangci-lint-$(GOLANGCI_VERSION)
GOVULNCHECK_VERSION := v1.9.0
GOVULNCHECK := .tools/govulncheck-$(GOVULNCHECK_VERSION)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
LDFLAGS := -X crier/internal/settings.version=$(VERSION)
# Inputs, since Go's fuzzing can end a span of time with a false "context deadline exceeded".
FUZZTIME ?= 100000x

.DEFAULT_GOAL := help
.PHONY: help demo test race deploy-test pictures lint vuln print-govulncheck fuzz bench bench-http torture pacing benchmarks fmt tidy build

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

demo: build ## Deliver 10,000 messages through a simulated API; needs nothing but Go
	@bin/demo examples/customers.csv

test: ## Run all tests; with redis-server installed against it, else against an embedded Redis
	go test ./...

race: ## Run tests with the race detector (not those of test/, whose programs it cannot see into, nor the simulation, which is one goroutine)
	go test -race $$(go list ./... | grep -vE '^crier/(test|internal/pacing)$$')

deploy-test: ## Hold boards, alerts, compose file, image and chart against the tools that read them; needs prometheus, promtool and redis-server
	cd deploy/checks/chart && go vet ./... && go test ./...
	cd deploy/checks && go vet ./... && go test ./...

lint: $(GOLANGCI) ## Check style, faults and the import direction
	$(GOLANGCI) run ./...
	cd deploy/checks && ../../$(GOLANGCI) run --config ../../.golangci.yml ./...
	cd deploy/checks/chart && ../../../$(GOLANGCI) run --config ../../../.golangci.yml ./...

vuln: ## Look for known vulnerabilities in what the code calls; needs the network
	@.ci/vuln --must

print-govulncheck:
	@echo $(GOVULNCHECK)

fuzz: ## Try FUZZTIME (100000x) new inputs on each fuzz target
	@set -e; for pkg in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "fuzz $$pkg $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; \
	done

bench: build ## Measure what Crier costs beside a bare loop; needs redis-server (BENCHFLAGS="--help": what else)
	@bin/bench $(BENCHFLAGS)

bench-http: build ## Measure the HTTP gateway beside the same one without Redis (HTTPFLAGS="--help": what else)
	@bin/bench http $(HTTPFLAGS)

torture: build ## Kill workers, Redis and the API for a minute, then compare the books; needs redis-server (TORTUREFLAGS="--help": what else)
	@bin/torture $(TORTUREFLAGS)

pacing: build ## Hold the gate against scripted limits, and draw docs/pictures anew (PACINGFLAGS="--help": what else)
	@bin/pacing --out docs/pictures $(PACINGFLAGS)

pictures: ## Run Crier for twenty minutes under a load that shows something, and draw the boards in docs/pictures anew; needs redis-server, prometheus, npm, chromium
	cd deploy/grafana/preview && npm ci --no-audit --no-fund && ./load.sh

benchmarks: ## Run all Go benchmarks once
	go test -run '^$$' -bench . -benchmem ./...

fmt: $(GOLANGCI) ## Format the code
	$(GOLANGCI) fmt ./...

tidy: ## Bring go.mod and go.sum in line with the imports
	go mod tidy

build: ## Build the programs into bin/
	@go build -ldflags "$(LDFLAGS)" -o bin/ ./cmd/...

# Built here, not run by `go run`: it is slow to link, and its version is ours to choose.
$(GOLANGCI):
	@mkdir -p .tools
	GOBIN=$(CURDIR)/.tools/new go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv .tools/new/golangci-lint $@ && rmdir .tools/new

$(GOVULNCHECK):
	@mkdir -p .tools
	GOBIN=$(CURDIR)/.tools/new go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	@mv .tools/new/govulncheck $@ && rmdir .tools/new
