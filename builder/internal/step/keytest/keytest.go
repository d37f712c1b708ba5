// Package keytest holds the parameters of operations against their keys in the layer cache: for
// each field it must be decided whether it is in the key.
package keytest

import (
	"reflect"
	"testing"
)

// InKey says of a field that it is in the key.
const InKey = ""

// Fields checks each field of the parameters, a struct: that it is listed; that a change of it
// changes the key when it is listed as InKey; and that it does not when it is listed with the
// reason why not. params are those that are changed, and key makes the key of such.
func Fields[P any](t *testing.T, params P, key func(P) string, listed map[string]string) {
	t.Helper()
	of := reflect.TypeOf(params)
	before := key(params)
	for name := range listed {
		if f, ok := of.FieldByName(name); !ok || len(f.Index) != 1 {
			t.Errorf("%s has no field %s", of, name)
		}
	}
	for i := range of.NumField() {
		f := of.Field(i)
		why, ok := listed[f.Name]
		if !ok {
			t.Errorf("%s.%s: decide whether it is in the key, and list it with the reason if it is not", of, f.Name)
			continue
		}
		changed := params
		change(reflect.ValueOf(&changed).Elem().Field(i))
		switch after := key(changed); {
		case why == InKey && after == before:
			t.Errorf("%s.%s is listed as in the key, and does not change it", of, f.Name)
		case why != InKey && after != before:
			t.Errorf("%s.%s changes the key, and is listed as not in it: %s", of, f.Name, why)
		}
	}
}

// change gives a value another one, and all in it.
func change(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint16, reflect.Uint32:
		v.SetUint(v.Uint() + 1)
	case reflect.Slice:
		one := reflect.New(v.Type().Elem()).Elem()
		change(one)
		v.Set(reflect.Append(v.Slice3(0, v.Len(), v.Len()), one))
	case reflect.Map:
		changed := reflect.MakeMap(v.Type())
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		change(key)
		change(value)
		changed.SetMapIndex(key, value)
		v.Set(changed)
	case reflect.Pointer:
		one := reflect.New(v.Type().Elem())
		change(one.Elem())
		v.Set(one)
	case reflect.Struct:
		for i := range v.NumField() {
			// A pointer may lead to the very type that it is in.
			if f := v.Type().Field(i); f.IsExported() && f.Type.Kind() != reflect.Pointer {
				change(v.Field(i))
			}
		}
	}
}
