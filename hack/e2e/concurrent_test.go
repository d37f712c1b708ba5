//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/oakum-build/oakum/hack/internal/imagetree"
)

// TestConcurrent builds different Dockerfiles at once in one empty store, so that
// the store's making and the pull of the base are contended too.
func TestConcurrent(t *testing.T) {
	h := newHome(t)
	const builds = 2
	var contexts [builds]string
	for i := range builds {
		contexts[i] = h.context(fmt.Sprint("build", i), fmt.Sprintf(
			"FROM busybox\nRUN echo %[1]d > /number\nCOPY Dockerfile /\nRUN cat /number /number > /twice\nCMD [\"cat\", \"/twice\"]\n", i))
	}
	var outputs [builds]string
	var wg sync.WaitGroup
	for i := range builds {
		wg.Go(func() {
			stdout, stderr, err := h.try(oakum, "build", "-t", fmt.Sprint("build", i), contexts[i])
			if err != nil {
				outputs[i] = fmt.Sprintf("build %d: %v\n%s%s", i, err, stdout, stderr)
			}
		})
	}
	wg.Wait()
	if failed := strings.Join(outputs[:], ""); failed != "" {
		t.Fatal(failed)
	}
	for i := range builds {
		want := fmt.Sprintf("%[1]d\n%[1]d\n", i)
		if got, want := h.export("localhost/" + fmt.Sprint("build", i)).Files["twice"].Content, imagetree.ContentOf(want); got != want {
			t.Errorf("image %d: /twice has %s, want %s", i, got, want)
		}
		if out := h.run("podman", "run", "--rm", "--network", "none", fmt.Sprint("build", i)); out != want {
			t.Errorf("image %d printed %q, want %q", i, out, want)
		}
	}
}
