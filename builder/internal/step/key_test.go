//go:build linux

package step

import (
	"reflect"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
)

// keys are one of each operation.
var keys = []Key{RunKey{}, CopyKey{}, WorkdirKey{}, URLKey{}, GitKey{}, ReadKey{}, SquashKey{}, CommandKey{}}

// Whatever differs has another key, and what means the same has the same.
func TestSum(t *testing.T) {
	t.Parallel()
	seen := map[string]Key{}
	for _, k := range append([]Key{
		RunKey{Args: []string{"a", "b"}}, RunKey{Args: []string{"a b"}}, RunKey{Args: []string{"a"}, Env: []string{"b"}}, RunKey{Args: []string{""}},
		RunKey{Env: []string{"a"}}, RunKey{Dir: "a"}, RunKey{User: "a"}, RunKey{Hostname: "a"}, RunKey{Args: []string{"\xff"}}, RunKey{Args: []string{"\xfe"}}, RunKey{Args: []string{"\ufffd"}},
		RunKey{Files: map[string]string{"a": ""}}, RunKey{Files: map[string]string{"a": "", "b": ""}}, RunKey{Files: map[string]string{"": "a"}},
		RunKey{Terminal: &TerminalKey{}}, RunKey{Terminal: &TerminalKey{Rows: 1}}, RunKey{Terminal: &TerminalKey{Columns: 1}},
		WorkdirKey{Dir: "a"}, WorkdirKey{User: "a"}, WorkdirKey{Times: &Times{}}, WorkdirKey{Times: &Times{Limit: 1}}, WorkdirKey{Times: &Times{All: true}},
		CopyKey{Dest: "a"}, CopyKey{Dir: true}, CopyKey{Unpack: true}, CopyKey{Link: true}, CopyKey{Sources: []SourceKey{{}}}, CopyKey{Sources: []SourceKey{{}, {}}},
		CopyKey{Sources: []SourceKey{{Patterns: []string{"a"}}}}, CopyKey{Sources: []SourceKey{{Exclude: []string{"a"}}}},
	}, keys...) {
		key := Sum("", k)
		if again := Sum("", k); again != key || len(key) != 64 {
			t.Errorf("%+v: %s, then %s", k, key, again)
		}
		if other, taken := seen[key]; taken {
			t.Errorf("%+v and %+v have one key", k, other)
		}
		seen[key] = k
		if Sum(digest.FromString("x"), k) == key {
			t.Errorf("%+v has the same key on other layers", k)
		}
	}
	if Sum("", RunKey{Args: []string{}, Files: map[string]string{}}) != Sum("", RunKey{}) {
		t.Error("an empty list is another key than none")
	}
	k, times := RunKey{}, map[string]bool{}
	for _, set := range []*Times{nil, {}, {Limit: 1}, {All: true}} {
		times[sum("", encodeKey(k, set))] = true
	}
	if len(times) != 4 {
		t.Errorf("%d keys of 4 times", len(times))
	}
}

// The encoding is written down; a change of it makes a new version.
func TestEncoding(t *testing.T) {
	t.Parallel()
	k := RunKey{Args: []string{"a", ""}, Files: map[string]string{"z": "1", "b": "\xff"}, User: "u", Terminal: &TerminalKey{Rows: 2}}
	const want = "3:key" + "d4:argsl1:a0:e5:filesd1:b1:\xff1:z1:1e8:terminald4:rowsi2ee4:user1:ue" + "9:operation3:run" +
		"5:timesd3:alli1e5:limiti5ee" + "7:version12:oakum step 4e"
	if got := string(encodeKey(k, &Times{Limit: 5, All: true})); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	const key = "76cc56c585557715b5e3386a7f241d57763f8d779a5047b93b4c9d4b0366d232"
	if got := Sum(digest.FromString("below"), k); got != key {
		t.Errorf("key %s, want %s", got, key)
	}
}

// Every field of every key has a name, and is encoded.
func TestKeyFields(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	var fields func(of reflect.Type, check func(reflect.StructField))
	fields = func(of reflect.Type, check func(reflect.StructField)) {
		for i := range of.NumField() {
			f := of.Field(i)
			check(f)
			inner := f.Type
			for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				fields(inner, check)
			}
		}
	}
	for _, k := range keys {
		if names[k.operation()] {
			t.Errorf("two operations are called %s", k.operation())
		}
		names[k.operation()] = true
		of := reflect.TypeOf(k)
		fields(of, func(f reflect.StructField) {
			if name := f.Tag.Get("key"); name == "" || name != strings.ToLower(f.Name) {
				t.Errorf("%s.%s is named %q in the key", of, f.Name, name)
			}
		})
		for i := range of.NumField() {
			v := reflect.New(of).Elem()
			v.Field(i).Set(sample(of.Field(i).Type))
			if Sum("", v.Interface().(Key)) == Sum("", k) {
				t.Errorf("%s.%s is not in the key", of, of.Field(i).Name)
			}
		}
	}
}

// sample is a value of a type that is not empty.
func sample(of reflect.Type) reflect.Value {
	v := reflect.New(of).Elem()
	switch of.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Slice:
		v = reflect.Append(v, sample(of.Elem()))
	case reflect.Map:
		v = reflect.MakeMap(of)
		v.SetMapIndex(sample(of.Key()), sample(of.Elem()))
	case reflect.Pointer:
		v = reflect.New(of.Elem())
		v.Elem().Set(sample(of.Elem()))
	case reflect.Struct:
		for i := range of.NumField() {
			v.Field(i).Set(sample(of.Field(i).Type))
		}
	}
	return v
}
