# make help lists the targets.

include hack/versions

# Two leave out what would be initialised at each start and never used: what keeps and restores containers, and
# what writes manual pages.
tags := containers_image_openpgp,exclude_graphdriver_btrfs,exclude_graphdriver_zfs,seccomp,runc_nocriu,urfave_cli_no_docs
# RUN needs libcontainer, which needs cgo.
export CGO_ENABLED := 1
# The same for all targets, so that tests and linters use what the build compiled.
export GOFLAGS := $(shell go env GOFLAGS) -trimpath -tags=$(tags),netgo,osusergo

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
ldflags := -s -w -X main.version=$(VERSION)

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

# A static binary starts 2 ms sooner, and it is started again for each RUN. The linker
# warns of a dlopen for PKCS #11 that nothing here calls.
quiet := $(shell ld --help | grep -q -- --no-warnings && echo -Wl,--no-warnings)

.PHONY: build
build: ## build bin/oakum, one static file
	go build -ldflags '$(ldflags) -extldflags "-static $(quiet)"' -o bin/oakum ./cmd/oakum

.PHONY: dynamic
dynamic: ## build bin/oakum against the machine's C libraries
	go build -tags=$(tags) -ldflags '$(ldflags)' -o bin/oakum ./cmd/oakum

# Nothing needs a tag then; one brings the checks of signatures.
.PHONY: static
static: ## build bin/oakum-linux-amd64 and -arm64, each one static file, without a C compiler: all but libcontainer
	@for arch in amd64 arm64; do \
		CGO_ENABLED=0 GOARCH=$$arch go build -tags=containers_image_openpgp,urfave_cli_no_docs -ldflags '$(ldflags)' -o bin/oakum-linux-$$arch ./cmd/oakum || exit 1; \
	done

.PHONY: otheros
otheros: ## build bin/oakum-otheros, which does on Linux what oakum does on other systems
	CGO_ENABLED=0 go build -tags=containers_image_openpgp,urfave_cli_no_docs,otheros -ldflags '$(ldflags)' -o bin/oakum-otheros ./cmd/oakum

.PHONY: test
test: deps lint build static otheros ## install what is missing, lint, and run all tests; as root, also as an ordinary user
	hack/test

.PHONY: conformance
conformance: deps build ## compare what oakum and buildah build of many Dockerfiles; RUN=TABLE/NAME for some
	hack/test conformance $(if $(RUN),-run 'TestConformance/cases/$(RUN)')

.PHONY: test-environments
test-environments: deps build static ## build images in containers of root, Docker, Podman and Kubernetes, as root; RUN=TEST/ENVIRONMENT for some, WHOLE=1 with all conformance cases
	OAKUM_TEST_WHOLE=$(WHOLE) hack/test environments $(if $(RUN),-run '$(RUN)')

.PHONY: lint
lint: ## check format, vet, staticcheck, layering and banned calls
	@out=$$(gofmt -l .); \
		test -z "$$out" || { echo "not gofmt-ed:"; echo "$$out"; exit 1; }
	go vet ./...
	@hack/again go run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION) -version >/dev/null # fetches it
	go run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION) ./...
	go test ./hack/lint

.PHONY: bases
bases: deps ## make the base images in .cache
	go run ./hack/bases make

.PHONY: demo
demo: deps build ## build examples/multistage-go as an ordinary user and run it
	hack/demo

.PHONY: bench
bench: deps build ## compare oakum with Debian's buildah on this machine; FLAGS='-only A,B' for some (docs/performance.md)
	hack/bench/run $(FLAGS)

.PHONY: power-cut
power-cut: deps build ## cut the power while images are built and look what is left, as root
	hack/powercut/run

.PHONY: deps
deps:
	@hack/deps

.PHONY: clean
clean: ## remove what make built, and the base images
	rm -rf bin .cache
