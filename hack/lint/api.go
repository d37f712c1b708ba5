package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
)

// wideNames lists the packages that have too many exported top-level names: types,
// functions, constants and variables, but no methods and fields. A name that is declared
// for several systems counts once.
func wideNames(files []sourceFile) []string {
	names := map[string]map[string]bool{}
	for _, f := range files {
		if f.test {
			continue
		}
		if names[f.folder] == nil {
			names[f.folder] = map[string]bool{}
		}
		for _, name := range topLevel(f) {
			if token.IsExported(name) {
				names[f.folder][name] = true
			}
		}
	}
	var faults []string
	for folder, exported := range names {
		limit := maxExportedNames
		if own, ok := exportedNames[folder]; ok {
			limit = own
		}
		if len(exported) > limit {
			faults = append(faults, fmt.Sprintf("%s exports %d names, more than %d: split it by subject", folder, len(exported), limit))
		}
	}
	slices.Sort(faults)
	return faults
}

// topLevel are the names that a file declares, but for methods.
func topLevel(f sourceFile) []string {
	var names []string
	for _, decl := range f.ast.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil {
				names = append(names, decl.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, spec.Name.Name)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}

// wideStructs lists the struct types of a file that have too many fields. An embedded type
// is one field.
func wideStructs(f sourceFile) []string {
	if f.test {
		return nil
	}
	var faults []string
	ast.Inspect(f.ast, func(node ast.Node) bool {
		spec, ok := node.(*ast.TypeSpec)
		if !ok {
			return true
		}
		structure, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		fields := 0
		for _, field := range structure.Fields.List {
			fields += max(1, len(field.Names))
		}
		if fields > maxFields {
			faults = append(faults, fmt.Sprintf("%s.%s has %d fields, more than %d: group them by what they are about",
				f.folder, spec.Name.Name, fields, maxFields))
		}
		return true
	})
	return faults
}
