package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// A sourceFile is one parsed Go file.
type sourceFile struct {
	name   string // slash-separated, relative to the module's root
	folder string // its directory, likewise
	test   bool
	fset   *token.FileSet
	ast    *ast.File
}

// parseTree parses all Go files below root.
func parseTree(root string) ([]sourceFile, error) {
	var files []sourceFile
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && file != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "bin") {
			return fs.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(file, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		parsed, err := parseFile(filepath.ToSlash(rel), file, nil)
		files = append(files, parsed)
		return err
	})
	return files, err
}

// parseFile parses src, or the file at disk when src is nil.
func parseFile(name, disk string, src any) (sourceFile, error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, disk, src, parser.ParseComments|parser.SkipObjectResolution)
	return sourceFile{
		name:   name,
		folder: path.Dir(name),
		test:   strings.HasSuffix(name, "_test.go"),
		fset:   fset,
		ast:    parsed,
	}, err
}

// imports are the paths that the file imports.
func (f sourceFile) imports() []string {
	var paths []string
	for _, spec := range f.ast.Imports {
		importPath, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			panic(err) // the parser accepted it
		}
		paths = append(paths, importPath)
	}
	return paths
}

// importNames maps the names by which the file knows its imports to their paths.
func (f sourceFile) importNames() map[string]string {
	names := map[string]string{}
	for i, importPath := range f.imports() {
		name := path.Base(importPath)
		if alias := f.ast.Imports[i].Name; alias != nil {
			name = alias.Name
		}
		names[name] = importPath
	}
	return names
}

// line is the line of a position.
func (f sourceFile) line(pos token.Pos) int { return f.fset.Position(pos).Line }

// below reports whether folder is one of parents or below one.
func below(folder string, parents ...string) bool {
	for _, parent := range parents {
		if folder == parent || strings.HasPrefix(folder, parent+"/") {
			return true
		}
	}
	return false
}
