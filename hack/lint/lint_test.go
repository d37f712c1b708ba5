package lint

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

func tree(t *testing.T) []sourceFile {
	t.Helper()
	files, err := parseTree(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found only %d Go files below %s", len(files), root)
	}
	return files
}

// each runs a check over the whole tree.
func each(t *testing.T, check func(sourceFile) []string) {
	t.Helper()
	for _, f := range tree(t) {
		for _, fault := range check(f) {
			t.Error(fault)
		}
	}
}

func TestLayering(t *testing.T)    { each(t, layering) }
func TestSeams(t *testing.T)       { each(t, seamless) }
func TestBannedCalls(t *testing.T) { each(t, banned) }
func TestSizes(t *testing.T)       { each(t, sizes) }
func TestEager(t *testing.T)       { each(t, eager) }
func TestExportedDocs(t *testing.T) {
	each(t, undocumented)
}

// Each implementation of a contract passes the suite of that.
func TestSuites(t *testing.T) {
	for _, fault := range untested(tree(t)) {
		t.Error(fault)
	}
}

func TestSizesOfTypesAndPackages(t *testing.T) {
	files := tree(t)
	faults := wideNames(files)
	for _, f := range files {
		faults = append(faults, wideStructs(f)...)
	}
	for _, fault := range faults {
		t.Error(fault)
	}
}

func TestPackages(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range tree(t) {
		if f.test {
			continue
		}
		if slices.Contains(vagueNames, f.ast.Name.Name) {
			t.Errorf("%s: a package called %s says nothing about what it is for", f.name, f.ast.Name.Name)
		}
		documented[f.folder] = documented[f.folder] || f.ast.Doc != nil
	}
	for folder, ok := range documented {
		if !ok {
			t.Errorf("%s: the package has no comment", folder)
		}
	}
}

// TestDirectModules keeps the dependency budget.
func TestDirectModules(t *testing.T) {
	f, err := os.Open(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	direct := 0
	lines := bufio.NewScanner(f)
	for inRequire := false; lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "require (":
			inRequire = true
		case line == ")":
			inRequire = false
		case inRequire && line != "" && !strings.Contains(line, "// indirect"):
			direct++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if direct == 0 || direct > maxDirectModules {
		t.Errorf("go.mod has %d direct dependencies, want 1 to %d", direct, maxDirectModules)
	}
}

// manyNames declares n exported names and one more, of every kind, and what does not count.
func manyNames(n int) string {
	src := "type T struct{ F int }\nfunc (T) M() {}\nfunc (t) N() {}\nfunc F() {}\nvar V int\nvar v int\nconst (\n"
	for i := range n - 2 {
		src += fmt.Sprintf("\tC%d = 1\n", i)
	}
	return src + ")"
}

// wide is wideNames of one file, which stands twice as for two systems.
func wide(f sourceFile) []string { return wideNames([]sourceFile{f, f}) }

// TestRulesBite shows that each check finds what it is for, and nothing beside it.
func TestRulesBite(t *testing.T) {
	long := "func long() {\n" + strings.Repeat("\tprintln()\n", maxFunctionLines) + "}\n"
	tests := []struct {
		name  string
		file  string
		src   string
		check func(sourceFile) []string
		want  string // part of the one fault; "" is none
	}{
		{"up", "storage/a.go", `import _ "` + module + `/builder"`, layering, "lowest layer"},
		{"up in a test", "storage/a_test.go", `import _ "` + module + `/builder"`, layering, ""},
		{"down", "dockerfile/a.go", `import _ "` + module + `/builder"`, layering, ""},
		{"around", "cmd/oakum/a.go", `import _ "` + module + `/storage"`, layering, "only through builder"},
		{"foreign", "dockerfile/a.go", `import _ "go.podman.io/storage"`, layering, "builder alone"},
		{"too much BuildKit", "dockerfile/a.go", `import _ "github.com/moby/buildkit/client"`, layering, "Dockerfile packages"},
		{"BuildKit's parser", "dockerfile/a.go", `import _ "github.com/moby/buildkit/frontend/dockerfile/parser"`, layering, ""},
		{"past the sandbox", "builder/internal/step/a.go", `import _ "github.com/opencontainers/runc/libcontainer"`, seamless, "how commands are isolated"},
		{"past the choice", "builder/a.go", `import _ "` + module + `/builder/internal/sandbox/oci"`, seamless, "chooses the sandbox"},
		{"past the choice in a test", "builder/a_test.go", `import _ "` + module + `/builder/internal/sandbox/oci"`, seamless, ""},
		{"the contract", "builder/a.go", `import _ "` + module + `/builder/internal/sandbox"`, seamless, ""},
		{"the choice", worker + "/a.go", `import _ "` + module + `/builder/internal/sandbox/oci"`, seamless, ""},
		{"past the workspace", "builder/internal/input/a.go", `import _ "` + module + `/builder/internal/workspace/overlay"`, seamless, "chooses the workspace"},
		{"exit", "builder/a.go", "import \"os\"\nfunc f() { os.Exit(1) }", banned, "only a command"},
		{"exit by another name", "builder/a.go", "import sys \"os\"\nfunc f() { sys.Exit(1) }", banned, "only a command"},
		{"exit in a command", "cmd/oakum/a.go", "import \"os\"\nfunc f() { os.Exit(1) }", banned, ""},
		{"chdir in a command", "cmd/oakum/a.go", "import \"os\"\nfunc f() { os.Chdir(\"/\") }", banned, "working directory"},
		{"setenv in the worker", worker + "/a.go", "import \"os\"\nfunc f() { os.Setenv(\"A\", \"\") }", banned, ""},
		{"untar", "storage/a.go", "import \"go.podman.io/storage/pkg/archive\"\nvar f = archive.Untar", banned, "planted"},
		{"whole package", "dockerfile/a.go", "import \"log\"\nfunc f() { log.Default() }", banned, "Options.Logger"},
		{"pattern at the start", "builder/a.go", "import \"regexp\"\nvar (\n\ta = 1\n\tp = regexp.MustCompile(`a`)\n)", eager, "builder/a.go:5"},
		{"pattern in a map", "cmd/oakum/a.go", "import re \"regexp\"\nvar m = map[string]any{\"a\": re.MustCompilePOSIX(`a`)}", eager, "when the program starts"},
		{"pattern when needed", "builder/a.go", "import (\n\t\"regexp\"\n\t\"sync\"\n)\nvar p = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`a`) })\nfunc f() { regexp.MustCompile(`a`) }", eager, ""},
		{"long function", "builder/a.go", long, sizes, "long has 62 lines"},
		{"long file", "builder/a.go", strings.Repeat("\n", maxFileLines), sizes, "split it"},
		{"no comment", "builder/a.go", "func F() {}", undocumented, "exported F"},
		{"no comment on a type", "builder/a.go", "type T struct{}", undocumented, "exported T"},
		{"comment on a group", "builder/a.go", "// These are names.\nconst (\n\tA = 1\n\tB = 2\n)", undocumented, ""},
		{"unexported receiver", "builder/a.go", "func (t) F() {}", undocumented, ""},
		{"wide struct", "builder/a.go", "type t struct {\n\ta, b, c int\n\terror\n" + strings.Repeat("\t_ int\n", maxFields-3) + "}", wideStructs, "t has 16 fields"},
		{"narrow struct", "builder/a.go", "type t struct {\n\ta, b, c int\n\terror\n" + strings.Repeat("\t_ int\n", maxFields-4) + "}", wideStructs, ""},
		{"wide package", "storage/a.go", manyNames(maxExportedNames), wide, "storage exports 30 names"},
		{"narrow package", "storage/a.go", manyNames(maxExportedNames - 1), wide, ""},
		{"wide package of its own limit", "builder/a.go", manyNames(exportedNames["builder"]), wide, "builder exports 46 names"},
		{"past the workspace, by name", "builder/internal/worker/a.go", "const opaque = `user.overlay.opaque`", seamless, "known to its workspace"},
		{"the workspace's names", "builder/internal/workspace/overlay/a.go", "const opaque = `user.overlay.opaque`", seamless, ""},
		{"past the engine", "builder/internal/worker/a.go", `import _ "` + module + `/storage/records"`, seamless, "one place makes the keys"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, err := parseFile(test.file, test.file, "package a\n"+test.src)
			if err != nil {
				t.Fatal(err)
			}
			faults := test.check(f)
			if test.want == "" && len(faults) == 0 {
				return
			}
			if len(faults) != 1 || test.want == "" || !strings.Contains(faults[0], test.want) {
				t.Errorf("got %q, want one fault with %q", faults, test.want)
			}
		})
	}
}
