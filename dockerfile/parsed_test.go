package dockerfile

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestParsedOnce: the text of a Dockerfile is given to a parser in one place, which what is
// loaded goes through, once. A build and a check have nothing else than what it gives: a
// plan is made of it and the checks walk that.
func TestParsedOnce(t *testing.T) {
	want := map[string]string{
		"loadAll":            "check.go dockerfile.go dryrun.go", // a check, or a build
		"in.parse":           "loaded.go",                        // at the end of that
		"plan.Parse":         "loaded.go",                        // by this
		"parser.Parse":       "internal/plan/longlines.go",
		"instructions.Parse": "internal/plan/parse.go",
	}
	got := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				got[callee(call)] = append(got[callee(call)], path)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, where := range want {
		if calls := strings.Join(slices.Compact(got[name]), " "); calls != where {
			t.Errorf("%s is called by %q, want %q", name, calls, where)
		}
	}
}

// callee is what a call calls, as it is written.
func callee(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
		return f.Sel.Name
	}
	return ""
}
