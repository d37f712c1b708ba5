package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// kanikoFlags are those of kaniko's executor 1.24, and of the fork that goes on.
const kanikoFlags = `annotation bucket build-arg cache cache-copy-layers cache-dir cache-repo cache-run-layers cache-ttl cleanup
	compressed-caching compression compression-level context context-sub-path credential-helpers custom-platform destination
	digest-file dockerfile force force-build-metadata git ignore-path ignore-var-run image-download-retry image-fs-extract-retry
	image-name-tag-with-digest-file image-name-with-digest-file insecure insecure-pull insecure-registry kaniko-dir label
	log-format log-timestamp materialize no-push no-push-cache oci-layout-path preserve-context push-ignore-immutable-tag-errors
	push-retry registry-certificate registry-client-cert registry-map registry-mirror reproducible secret single-snapshot
	skip-default-registry-fallback skip-push-permission-check skip-tls-verify skip-tls-verify-pull skip-tls-verify-registry
	skip-unused-stages snapshot-mode tar-path target use-new-run verbosity`

// TestKanikoDoc checks that docs/migrating-from-kaniko.md tells of each flag of kaniko's, once, and that the
// flags that take their places are there.
func TestKanikoDoc(t *testing.T) {
	page, err := os.ReadFile("../../docs/migrating-from-kaniko.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## The executor's flags")
	table, _, _ = strings.Cut(table, "\n## ")
	app := testApp()
	build := app.Command("build")
	own := map[string]bool{}
	for _, flag := range append(append([]cli.Flag{}, app.Flags...), build.Flags...) {
		for _, name := range flag.Names() {
			own[name] = true
		}
	}
	told := map[string]int{}
	flag := regexp.MustCompile("`--([a-z-]+)")
	for line := range strings.Lines(table) {
		columns := strings.Split(line, "|")
		if len(columns) < 5 {
			continue
		}
		for _, match := range flag.FindAllStringSubmatch(columns[1], -1) {
			told[match[1]]++
		}
		for _, match := range flag.FindAllStringSubmatch(columns[2]+columns[3], -1) {
			if !own[match[1]] {
				t.Errorf("oakum build has no flag --%s: %s", match[1], line)
			}
		}
	}
	for _, name := range strings.Fields(kanikoFlags) {
		if told[name] != 1 {
			t.Errorf("kaniko's --%s is told of %d times", name, told[name])
		}
		delete(told, name)
	}
	for name := range told {
		t.Errorf("kaniko has no flag --%s", name)
	}
}
