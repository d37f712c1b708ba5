package lint

import (
	"fmt"
	"go/ast"
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
	exported := false
	ast.Inspect(decl.Recv.List[0].Type, func(node ast.Node) bool {
		if ident, ok := node.(*ast.Ident); ok {
			exported = exported || ident.IsExported()
		}
		return true
	})
	return exported
}

// wellKnown methods need no words: the interface that they implement has them.
func wellKnown(decl *ast.FuncDecl) bool {
	return decl.Recv != nil && slices.Contains([]string{"Error", "String", "Unwrap", "Len", "Less", "Swap"}, decl.Name.Name)
}
