package lint

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// asking are the packages by which a test can depend on who runs it and where.
var asking = regexp.MustCompile(`^(os|os/.*|syscall|net|net/http.*|golang\.org/x/sys/.*|github\.com/oakum-build/oakum/(builder|dockerfile|storage))$`)

// TestOnce looks at the packages that hack/test leaves out of the ordinary user's run: they, and what they are tested
// with, must have nothing by which it matters who runs them. They may have the names of the library's packages, of which
// their tests open none.
func TestOnce(t *testing.T) {
	tree(t) // go test repeats a test when files have changed that it has read itself
	script, err := os.ReadFile(filepath.Join(root, "hack/test"))
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?s)\nonce='(.*?)'\n`).FindSubmatch(script)
	if list == nil {
		t.Fatal("hack/test has no list")
	}
	for _, name := range strings.Fields(string(list[1])) {
		show := exec.Command("go", "list", "-f", `{{join .Imports " "}}|{{join .TestImports " "}} {{join .XTestImports " "}}`, "./"+name)
		show.Dir = root
		out, err := show.Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		own, tests, _ := strings.Cut(strings.TrimSpace(string(out)), "|")
		for _, pkg := range strings.Fields(own) {
			if asking.MatchString(pkg) && !strings.HasPrefix(pkg, "github.com/oakum-build/") {
				t.Errorf("%s has %s, so that it is not the same for every user: take it out of the list in hack/test", name, pkg)
			}
		}
		for _, pkg := range strings.Fields(tests) {
			if asking.MatchString(pkg) {
				t.Errorf("the tests of %s have %s, so that they are not the same for every user: take it out of the list in hack/test", name, pkg)
			}
		}
	}
}
