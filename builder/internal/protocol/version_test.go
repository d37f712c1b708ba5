package protocol

import (
	"encoding"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/protocol/handover"
	"github.com/oakum-build/oakum/builder/internal/protocol/layers"
	"github.com/oakum-build/oakum/builder/internal/protocol/outgoing"
	"github.com/oakum-build/oakum/builder/internal/protocol/question"
	"github.com/oakum-build/oakum/builder/internal/protocol/upkeep"
)

var update = flag.Bool("update", false, "record the declarations in testdata")

// requests are all that are declared.
var requests = []any{
	Hello{}, Open{}, Copy{}, Mkdir{}, Run{}, CheckCommand{}, Commit{}, ReadFile{}, LatestTime{}, CloseStage{},
	Images{}, Inspect{}, Tag{}, Remove{}, Pull{}, Push{}, Remembers{}, Info{}, Rerun{},
	layers.Sizes{}, handover.Ask{}, handover.Take{},
	question.Logins{}, question.Grant{}, question.Failed{}, question.PlaceHas{}, question.PlaceGet{}, question.PlacePut{},
	upkeep.Prune{}, upkeep.DiskUsage{}, upkeep.RemoveStore{},
	outgoing.Export{}, outgoing.Save{}, outgoing.Load{}, outgoing.NewPush{}, outgoing.FinishPush{}, outgoing.ClosePush{},
	outgoing.ImportCache{}, outgoing.ExportCache{}, outgoing.CloseCache{},
	outgoing.ExportMounts{}, outgoing.ImportMounts{},
}

// A Builder and a worker of other programs understand each other when their Version is the
// same: it must change with what crosses the wire.
func TestVersion(t *testing.T) {
	t.Parallel()
	if got, want := names(requests), declared(t); !slices.Equal(got, want) {
		t.Fatalf("the test looks at %q, declared are %q", got, want)
	}
	now := "version " + Version + "\n" + transcript()
	path := filepath.Join("testdata", "declarations.txt")
	recorded, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	version, rest, _ := strings.Cut(string(recorded), "\n")
	switch {
	case now == string(recorded):
	case version == "version "+Version && rest != "":
		t.Fatalf("what crosses the wire has changed since version %s was recorded in %s: give Version a number that it never had, and run this test with -update. Now it is:\n%s", Version, path, now)
	case !*update:
		t.Fatalf("%s has another version: run this test with -update", path)
	default:
		if err := os.WriteFile(path, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func names(values []any) []string {
	var list []string
	for _, v := range values {
		list = append(list, reflect.TypeOf(v).Name())
	}
	slices.Sort(list)
	return list
}

// declared lists the types of this package that declare a method.
func declared(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	below, errBelow := filepath.Glob("*/*.go")
	if err := errors.Join(err, errBelow); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, file := range append(files, below...) {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == "Gives" {
				list = append(list, fmt.Sprint(f.Recv.List[0].Type))
			}
		}
	}
	slices.Sort(list)
	return list
}

// transcript is what crosses the wire, as text: each method, and each type by its fields.
func transcript() string {
	var out strings.Builder
	seen := map[reflect.Type]bool{}
	var types []reflect.Type
	for _, q := range requests {
		gives := reflect.ValueOf(q).MethodByName("Gives")
		result := gives.Type().In(0)
		method := gives.Call([]reflect.Value{reflect.Zero(result)})[0]
		fmt.Fprintf(&out, "%s: %s -> %s\n", method, reflect.TypeOf(q), result)
		types = append(types, reflect.TypeOf(q), result)
	}
	types = append(types, reflect.TypeFor[Event]())
	for len(types) > 0 {
		typ := types[0]
		types = types[1:]
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			types = append([]reflect.Type{typ.Elem()}, types...)
			continue
		case reflect.Struct:
		default:
			continue
		}
		if seen[typ] || own(typ) || typ.NumField() == 0 {
			continue
		}
		seen[typ] = true
		fmt.Fprintf(&out, "\n%s\n", typ)
		for f := range typ.Fields() {
			tag := f.Tag.Get("json")
			if !f.IsExported() && !f.Anonymous || tag == "-" {
				continue
			}
			fmt.Fprintf(&out, "\t%s %s %s\n", f.Name, f.Type, tag)
			types = append(types, f.Type)
		}
	}
	return out.String()
}

// own says whether a type has a form of its own in JSON.
func own(typ reflect.Type) bool {
	to := reflect.PointerTo(typ)
	return to.Implements(reflect.TypeFor[json.Marshaler]()) || to.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}
