package lint

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// layering lists the imports of a file that break layerRules.
func layering(f sourceFile) []string {
	var faults []string
	for _, imported := range f.imports() {
		if strings.HasPrefix(imported, "github.com/moby/buildkit/") && !slices.Contains(buildkitPackages, imported) {
			faults = append(faults, fmt.Sprintf("%s imports %s: only BuildKit's Dockerfile packages are used", f.name, imported))
		}
		for _, rule := range layerRules {
			if !below(f.folder, rule.folder) || f.test {
				continue
			}
			own, ok := strings.CutPrefix(imported, module+"/")
			if ok && !below(own, append(rule.imports, rule.folder)...) || hasPrefix(imported, rule.banned) {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", f.name, imported, rule.reason))
			}
		}
	}
	return faults
}

// linked lists those of a program's packages that must not be in it. tagged says that it is the command, built
// with its tags.
func linked(packages []string, tagged bool) []string {
	var faults []string
	for _, not := range unlinked {
		for _, pkg := range not.packages {
			if slices.Contains(packages, pkg) && !(not.signed && tagged) && !(not.tagged && !tagged) {
				faults = append(faults, fmt.Sprintf("%s is linked: %s", pkg, not.reason))
			}
		}
	}
	return faults
}

// seamless lists what a file imports or names that goes past a seam.
func seamless(f sourceFile) []string {
	if f.test {
		return nil
	}
	var faults []string
	for _, s := range seams {
		if below(f.folder, s.within...) {
			continue
		}
		for _, imported := range f.imports() {
			if hasPrefix(imported, s.imports) {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", f.name, imported, s.reason))
			}
		}
		ast.Inspect(f.ast, func(node ast.Node) bool {
			text, ok := node.(*ast.BasicLit)
			if ok && slices.ContainsFunc(s.texts, func(part string) bool { return strings.Contains(text.Value, part) }) {
				faults = append(faults, fmt.Sprintf("%s:%d: %s: %s", f.name, f.line(text.Pos()), text.Value, s.reason))
			}
			return true
		})
	}
	return faults
}

// untested lists the implementations whose tests do not run their suite. What does not import the contract
// is none, but something that implementations use.
func untested(files []sourceFile) []string {
	var faults []string
	for contract, suite := range suites {
		runs := map[string]bool{} // by folder
		for _, f := range files {
			if path.Dir(f.folder) == contract && !f.test && f.has(suite.method) {
				runs[f.folder] = false
			}
		}
		for _, f := range files {
			if _, is := runs[f.folder]; is && f.test && f.calls(suite.call) {
				runs[f.folder] = true
			}
		}
		if len(runs) == 0 {
			faults = append(faults, contract+" has no implementations")
		}
		for folder, does := range runs {
			if !does {
				faults = append(faults, fmt.Sprintf("%s: no test calls %s, the suite of what it implements", folder, suite.call))
			}
		}
	}
	return faults
}

// has says whether a method of some name is declared.
func (f sourceFile) has(method string) bool {
	return slices.ContainsFunc(f.ast.Decls, func(d ast.Decl) bool {
		function, is := d.(*ast.FuncDecl)
		return is && function.Recv != nil && function.Name.Name == method
	})
}

// calls says whether a function of another package is called, by PACKAGE.FUNCTION.
func (f sourceFile) calls(function string) bool {
	found := false
	ast.Inspect(f.ast, func(node ast.Node) bool {
		if call, ok := node.(*ast.CallExpr); ok {
			if selector, ok := call.Fun.(*ast.SelectorExpr); ok {
				pkg, ok := selector.X.(*ast.Ident)
				found = found || ok && pkg.Name+"."+selector.Sel.Name == function
			}
		}
		return !found
	})
	return found
}

func hasPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// banned lists the uses of bannedCalls in a file.
func banned(f sourceFile) []string {
	if f.test {
		return nil
	}
	var faults []string
	names := f.importNames()
	ast.Inspect(f.ast, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		ident, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		for _, ban := range bannedCalls {
			if names[ident.Name] != ban.pkg || below(f.folder, ban.except...) {
				continue
			}
			if ban.names == nil || slices.Contains(ban.names, selector.Sel.Name) {
				faults = append(faults, fmt.Sprintf("%s:%d: %s.%s: %s",
					f.name, f.line(selector.Pos()), ban.pkg, selector.Sel.Name, ban.reason))
			}
		}
		return true
	})
	return faults
}

// eager lists the patterns that a file compiles when the program starts: it is started again as the worker and
// for commands, and most of what it does needs none.
func eager(f sourceFile) []string {
	if f.test || below(f.folder, "hack") {
		return nil
	}
	var faults []string
	names := f.importNames()
	for _, decl := range f.ast.Decls {
		if _, function := decl.(*ast.FuncDecl); function {
			continue
		}
		ast.Inspect(decl, func(node ast.Node) bool {
			if call, is := node.(*ast.SelectorExpr); is && strings.HasPrefix(call.Sel.Name, "MustCompile") {
				if pkg, is := call.X.(*ast.Ident); is && names[pkg.Name] == "regexp" {
					faults = append(faults, fmt.Sprintf("%s:%d: a pattern is compiled when the program starts: wrap it in sync.OnceValue, or do without", f.name, f.line(call.Pos())))
				}
			}
			_, later := node.(*ast.FuncLit)
			return !later
		})
	}
	return faults
}

// sizes lists the functions of a file that are too long, and the file itself if it is.
func sizes(f sourceFile) []string {
	var faults []string
	if lines := f.line(f.ast.FileEnd); lines > maxFileLines && !f.test {
		faults = append(faults, fmt.Sprintf("%s has %d lines, more than %d: split it by subject", f.name, lines, maxFileLines))
	}
	for _, decl := range f.ast.Decls {
		function, ok := decl.(*ast.FuncDecl)
		if !ok || f.test {
			continue
		}
		if lines := f.line(function.End()) - f.line(function.Pos()) + 1; lines > maxFunctionLines {
			faults = append(faults, fmt.Sprintf("%s:%d: %s has %d lines, more than %d",
				f.name, f.line(function.Pos()), function.Name.Name, lines, maxFunctionLines))
		}
	}
	return faults
}

// undocumented lists the exported names of a file that have no comment. A group of
// constants or variables may have one for all.
func undocumented(f sourceFile) []string {
	if f.test || f.ast.Name.Name == "main" {
		return nil
	}
	var faults []string
	fault := func(node ast.Node, name string) {
		faults = append(faults, fmt.Sprintf("%s:%d: exported %s has no comment", f.name, f.line(node.Pos()), name))
	}
	for _, decl := range f.ast.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Name.IsExported() && decl.Doc == nil && exportedReceiver(decl) && !wellKnown(decl) {
				fault(decl, decl.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				if name, doc := specName(spec); name != "" && doc == nil && decl.Doc == nil {
					fault(spec, name)
				}
			}
		}
	}
	return faults
}

// specName is the exported name that a type, constant or variable declares, and its comment.
func specName(spec ast.Spec) (string, *ast.CommentGroup) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() {
			return spec.Name.Name, spec.Doc
		}
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if name.IsExported() {
				return name.Name, cmpDoc(spec.Doc, spec.Comment)
			}
		}
	}
	return "", nil
}

func cmpDoc(doc, trailing *ast.CommentGroup) *ast.CommentGroup {
	if doc != nil {
		return doc
	}
	return trailing
}

// exportedReceiver reports whether a function has no receiver or one of an exported type.
func exportedReceiver(decl *ast.FuncDecl) bool {
	if decl.Recv == nil {
		return true
	}
	named := decl.Recv.List[0].Type
	for {
		switch of := named.(type) {
		case *ast.StarExpr:
			named = of.X
		case *ast.IndexExpr: // what follows are names of type parameters
			named = of.X
		case *ast.IndexListExpr:
			named = of.X
		case *ast.Ident:
			return of.IsExported()
		default:
			return true
		}
	}
}

// wellKnown methods need no words: the interface that they implement has them.
func wellKnown(decl *ast.FuncDecl) bool {
	return decl.Recv != nil && slices.Contains([]string{"Error", "String", "Unwrap", "Len", "Less", "Swap"}, decl.Name.Name)
}
