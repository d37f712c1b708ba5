//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/hack/internal/imagetree"
)

const helloOutput = "Hello from an image that oakum built: linux/amd64, in /srv\n"

// An example is built by oakum and by buildah, and must come out the same.
type example struct {
	// contexts are built in this order; the last is the result.
	contexts []string
	// names are what the contexts' images are called, so that one can start from another.
	names []string
	// format is what buildah needs to keep everything that the example uses.
	format string
	// output is what the result prints.
	output string
	// config is the result's configuration besides Env.
	config map[string]any
}

var examples = map[string]example{
	"multistage-go": {
		contexts: []string{"multistage-go"},
		names:    []string{"localhost/multistage-go:latest"},
		format:   "oci",
		output:   helloOutput,
		config: map[string]any{
			"Cmd":        []any{"/usr/local/bin/hello"},
			"WorkingDir": "/srv",
			"Labels":     map[string]any{"org.opencontainers.image.title": "multistage-go"},
		},
	},
	"copy-from-index": {
		contexts: []string{"copy-from-index"},
		names:    []string{"localhost/copy-from-index:latest"},
		format:   "oci",
		output:   "Copied by index: good morning\n",
		config: map[string]any{
			"Cmd":          []any{"./greet"},
			"WorkingDir":   "/srv/greeting",
			"ExposedPorts": map[string]any{"8080/tcp": map[string]any{}},
		},
	},
	"onbuild": {
		contexts: []string{"onbuild/base", "onbuild/child"},
		names:    []string{"localhost/onbuild-base:latest", "localhost/onbuild-child:latest"},
		format:   "docker",
		output:   "a page that a trigger copied\n29 index.txt\n",
		config: map[string]any{
			"Cmd":        []any{"cat", "/site/index.txt", "/site/size.txt"},
			"WorkingDir": "/site",
			"Labels":     map[string]any{"site": "built"},
		},
	},
}

// TestExamples builds the examples with oakum and with buildah in one store.
func TestExamples(t *testing.T) {
	h := newHome(t)
	var hello *imagetree.Image
	for _, name := range []string{"multistage-go", "copy-from-index", "onbuild"} {
		example := examples[name]
		t.Run(name, func(t *testing.T) {
			h := *h
			h.t = t
			got := h.buildExample(example, func(context, name string) {
				_, stderr, err := h.try(oakum, "build", "-t", name, context)
				if err != nil || strings.Contains(stderr, "warning:") {
					t.Fatalf("oakum build %s: %v\n%s", context, err, stderr)
				}
			})
			h.checkPeersSee(example)
			want := h.buildExample(example, func(context, name string) { h.buildah(context, name, example.format) })
			compare(t, got, want)
			compareConfig(t, got.Config, want.Config, example.config)
			if name == "multistage-go" {
				hello = want
			}
		})
	}
	t.Run("embed", func(t *testing.T) {
		h := *h
		h.t = t
		h.buildEmbed()
		got := h.export("localhost/embed:latest")
		if hello == nil {
			t.Fatal("the image to compare with was not built")
		}
		compare(t, got, hello)
		compareConfig(t, got.Config, hello.Config, examples["multistage-go"].config)
		if out := h.run("podman", "run", "--rm", "--network", "none", "localhost/embed"); out != helloOutput {
			t.Errorf("podman run printed %q, want %q", out, helloOutput)
		}
	})
}

// buildExample builds an example's contexts and returns the last image.
func (h *testHome) buildExample(e example, build func(context, name string)) *imagetree.Image {
	h.t.Helper()
	for i, context := range e.contexts {
		build(filepath.Join(checkout, "examples", context), e.names[i])
	}
	return h.export(e.names[len(e.names)-1])
}

// checkPeersSee checks that podman and buildah see, run and describe the image that
// oakum has just built, and that oakum runs it.
func (h *testHome) checkPeersSee(e example) {
	h.t.Helper()
	name := e.names[len(e.names)-1]
	if out := h.run("podman", "images", "--format", "{{.Repository}}:{{.Tag}}"); !strings.Contains("\n"+out, "\n"+name+"\n") {
		h.t.Errorf("podman images does not list %s:\n%s", name, out)
	}
	if out := h.run("podman", "run", "--rm", "--network", "none", name); out != e.output {
		h.t.Errorf("podman run printed %q, want %q", out, e.output)
	}
	if out := h.run(oakum, "run", name); out != e.output {
		h.t.Errorf("oakum run printed %q, want %q", out, e.output)
	}
	var inspected struct {
		OCIv1 struct {
			Config map[string]any `json:"config"`
		}
	}
	out := h.run("buildah", "inspect", "--type", "image", name)
	if err := json.Unmarshal([]byte(out), &inspected); err != nil {
		h.t.Fatal(err)
	}
	var own []struct{ Config map[string]any }
	out = h.run(oakum, "inspect", name)
	if err := json.Unmarshal([]byte(out), &own); err != nil {
		h.t.Fatalf("oakum inspect: %v\n%s", err, out)
	}
	if len(own) != 1 {
		h.t.Fatalf("oakum inspect printed %d images", len(own))
	}
	compareConfig(h.t, own[0].Config, inspected.OCIv1.Config, e.config)
}

// compareConfig compares two configurations with each other and with what the
// Dockerfile says; Env is compared between the two alone.
func compareConfig(t *testing.T, got, want, expected map[string]any) {
	t.Helper()
	got, want = imagetree.NormalConfig(got), imagetree.NormalConfig(want)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("configuration\n  oakum:   %v\n  buildah: %v", got, want)
	}
	if env, _ := got["Env"].([]any); len(env) == 0 {
		t.Errorf("configuration without Env: %v", got)
	}
	delete(got, "Env")
	if !reflect.DeepEqual(got, expected) {
		t.Errorf("configuration besides Env\n  got:  %v\n  want: %v", got, expected)
	}
}

// buildEmbed builds examples/embed as a module of its own, as an embedder would, without a tag, a C compiler
// or a replacement, and runs it.
func (h *testHome) buildEmbed() {
	h.t.Helper()
	m, dir := serveModule(h.t), h.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(checkout, "examples/embed"))); err != nil {
		h.t.Fatal(err)
	}
	m.command(h.t, dir, "mod", "init", "example.com/embed")
	m.command(h.t, dir, "get", module+"/builder@"+m.version)
	m.command(h.t, dir, "build", "-o", "embed", ".")
	h.run(filepath.Join(dir, "embed"))
}

// TestEmbedSources checks that the embedding example builds what the Dockerfile
// example builds: go:embed cannot reach the other's file.
func TestEmbedSources(t *testing.T) {
	var sources [2]string
	for i, name := range []string{"multistage-go/hello.go", "embed/src/hello.go"} {
		content, err := os.ReadFile(filepath.Join(checkout, "examples", name))
		if err != nil {
			t.Fatal(err)
		}
		sources[i] = string(content)
	}
	if sources[0] != sources[1] {
		t.Error("examples/multistage-go/hello.go and examples/embed/src/hello.go differ")
	}
}
