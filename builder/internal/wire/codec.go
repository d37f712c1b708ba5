package wire

import (
	"bytes"
	"encoding/json"
	"reflect"

	"github.com/oakum-build/oakum/builder/bytetext"
)

// Marshal is json.Marshal, but for strings that are not UTF-8: paths, arguments and
// variables are any bytes. Unmarshal gives them back. A json.RawMessage goes as it is.
func Marshal(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil || !bytes.Contains(raw, []byte(`\ufffd`)) && !bytetext.HasBytes(raw) {
		return raw, err
	}
	// json.Marshal writes so each byte that it does not keep.
	return json.Marshal(mapped(reflect.ValueOf(v), bytetext.Encode).Interface())
}

// Unmarshal reads what Marshal has written.
func Unmarshal(raw []byte, v any) error {
	if err := json.Unmarshal(raw, v); err != nil || !bytetext.HasBytes(raw) {
		return err
	}
	to := reflect.ValueOf(v).Elem()
	to.Set(mapped(to, bytetext.Decode))
	return nil
}

// mapped copies a value with f of each string in it.
func mapped(v reflect.Value, f func(string) string) reflect.Value {
	switch v.Kind() {
	case reflect.String:
		return reflect.ValueOf(f(v.String())).Convert(v.Type())
	case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map:
		if v.IsNil() {
			return v
		}
	}
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		out.Set(reflect.New(v.Type().Elem()))
		out.Elem().Set(mapped(v.Elem(), f))
	case reflect.Interface:
		out.Set(mapped(v.Elem(), f))
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return v
		}
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(mapped(v.Index(i), f))
		}
	case reflect.Array:
		for i := range v.Len() {
			out.Index(i).Set(mapped(v.Index(i), f))
		}
	case reflect.Map:
		out.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
		for key, value := range v.Seq2() {
			out.SetMapIndex(mapped(key, f), mapped(value, f))
		}
	case reflect.Struct:
		out.Set(v)
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out.Field(i).Set(mapped(v.Field(i), f))
			}
		}
	default:
		return v
	}
	return out
}
