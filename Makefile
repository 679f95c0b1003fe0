# Two commands do everything on a fresh machine with Go: `make demo` and `make test`.
export CGO_ENABLED = 0
export GOFLAGS = -buildvcs=false

GO      ?= go
BIN     := bin
FLAGS   := -trimpath -ldflags '-s -w'
MAINS   := cloister cloister-parent cloister-enclave cloister-sim
KILLS   ?= 500
SEED    ?= 0
KERNEL  ?= built
BOOTS   ?= 50
VMTEST  = $(GO) test ./test/vm -count 1 -timeout 60m -v -vm-image $(CURDIR)/$(BIN)/image/cloister.eif -vm-bin $(CURDIR)/$(BIN) $(if $(NITROQEMU),-vm-nitro-qemu $(NITROQEMU))
TOOL    := cd tools && $(GO) build -o ../$(BIN)/tools/

.PHONY: all build demo test crash bench bench-ingest bench-eif bench-relay oracle race image rebuild-check e2e-vm boots lint generate generate-check depaware depaware-check fuzz clean help

all: build

help: ## say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

build: ## build the four binaries into bin/
	@mkdir -p $(BIN)
	@$(GO) build $(FLAGS) -o $(BIN)/ $(addprefix ./cmd/,$(MAINS))

demo: build ## run the main job on real clinical records, in under two minutes
	@$(BIN)/cloister-sim demo --bin $(BIN) --data test/data

test: ## run every test that needs nothing but Go
	$(GO) vet ./...
	$(GO) test ./...

crash: ## kill processes KILLS times (500) at random moments; nothing may be lost or counted twice
	@$(GO) test ./test/fault -run 'TestCrash$$' -count 1 -timeout 120m -v -kills $(KILLS) -seed $(SEED)

bench: build ## ratios against named yardsticks, each measured in the same run
	$(GO) test -run '^$$' -bench Verify -benchtime 3s ./attestation/verifier
	$(GO) test -run '^$$' -bench WarmUnwrap -benchtime 50x ./enclave/ingest
	$(GO) test -run '^$$' -bench Device -benchtime 10x ./sim/vhost/vsockdev
	cd test/duckdb && CGO_ENABLED=1 $(GO) run ./yardstick
	$(GO) run ./test/relay
	$(GO) test -run '^$$' -bench Measure$$ -benchtime 5x ./eif

bench-ingest: build ## the part of bench on ingestion alone
	cd test/duckdb && CGO_ENABLED=1 $(GO) run ./yardstick -only ingestion

bench-eif: ## measuring an image beside sha384sum, and what it holds for one of 4 GiB
	$(GO) test -run '^$$' -bench Measure$$ -benchtime 5x ./eif
	$(GO) test -run '^$$' -bench Measuring4GiB -benchtime 1x ./eif

bench-relay: ## the relay beside socat and a bare loop, the gateway beside write and fsync
	$(GO) run ./test/relay

oracle: ## compare answers with DuckDB's on random plans (needs a C compiler)
	cd test/duckdb && CGO_ENABLED=1 $(GO) test ./...

race: ## run the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race $(RACE)

fuzz: ## run every fuzz target for a few seconds each
	@GO=$(GO) sh test/fuzz.sh "$(FUZZTIME)" "$(FUZZDIR)"

image: ## build the signed enclave image and its reference values into bin/image (IMAGEFLAGS=--help says more)
	$(GO) run ./image/build $(IMAGEFLAGS)

e2e-vm: build image ## boot the image in a virtual machine: a probe, evidence, the demo, kills (fetches a QEMU on Debian; NITROQEMU: one that measures)
	$(VMTEST)

boots: build image ## boot the image BOOTS times (50) in a row, each to verified evidence and an answer, and print how long that took
	$(VMTEST) -run 'TestBoots$$' -vm-boots $(BOOTS)

rebuild-check: ## build the image twice, elsewhere and as another user, and compare every byte (KERNEL=cached: not the kernel)
	$(GO) run ./image/rebuild --kernel $(KERNEL)

lint: ## golangci-lint and buf, from the tools module
	$(TOOL) github.com/golangci/golangci-lint/v2/cmd/golangci-lint github.com/bufbuild/buf/cmd/buf
	$(BIN)/tools/golangci-lint run ./...
	$(BIN)/tools/buf lint

generate: ## regenerate the protobuf code
	$(TOOL) github.com/bufbuild/buf/cmd/buf google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH="$(CURDIR)/$(BIN)/tools:$$PATH" $(BIN)/tools/buf generate

generate-check: generate ## fail when the checked-in protobuf code differs
	git diff --exit-code -- proto

depaware: ## write down what each binary links
	@sh test/arch/depaware.sh write

depaware-check: ## fail when a binary's dependency list differs from the committed one
	@sh test/arch/depaware.sh check

clean: ## remove what was built
	rm -rf $(BIN)
