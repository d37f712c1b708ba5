package lint

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestOtherSystems compiles and vets everything for a system on which nothing can be built:
// an embedder's own machine may be one; and for Linux without a C compiler, where all but RUN
// works. The compiler's cache makes that a matter of seconds.
func TestOtherSystems(t *testing.T) {
	tree(t) // go test repeats a test when files have changed that it has read itself
	for _, system := range [][]string{
		{"GOOS=darwin", "GOARCH=arm64", "GOFLAGS="},
		{"GOOS=linux", "GOFLAGS=-trimpath"},
		{"GOOS=linux", "GOFLAGS=-trimpath -tags=containers_image_openpgp"}, // as make static has compiled it
	} {
		vet := exec.Command("go", "vet", "./...")
		vet.Dir = root
		vet.Env = append(append(os.Environ(), "CGO_ENABLED=0"), system...)
		if out, err := vet.CombinedOutput(); err != nil {
			t.Errorf("%s, %s: %v\n%s", system, strings.Join(vet.Args, " "), err, out)
		}
	}
}
