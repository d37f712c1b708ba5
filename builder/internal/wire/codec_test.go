package wire

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"
)

type inner struct {
	Text  string
	Times *time.Time `json:",omitempty"`
}

type all struct {
	inner2
	Path   string
	Args   []string          `json:",omitempty"`
	Env    map[string]string `json:",omitempty"`
	Inner  *inner            `json:",omitempty"`
	Flag   *bool             `json:",omitempty"`
	Raw    json.RawMessage   `json:",omitempty"`
	Sum    [4]byte
	Pairs  [][2]string `json:",omitempty"`
	Number int64
}

type inner2 struct{ Other int }

// What crosses the wire is bytes, not UTF-8.
func TestMarshalKeepsBytes(t *testing.T) {
	t.Parallel()
	no, at := false, time.Unix(1e9, 7).UTC()
	for _, v := range []all{
		{},
		{Path: "/caf\xe9", Args: []string{"\xff", "é", "\ufffd", ""}, Number: -1},
		{Env: map[string]string{"\x80": "\xc3\x28", "A": "B"}, Inner: &inner{"\xe9", &at}, Flag: &no, Sum: [4]byte{0xe9}},
		{Path: "\U0010FEE9", Raw: json.RawMessage(`{"a":"􏻩"}`), Pairs: [][2]string{{"\xe9", "\xe8"}}},
		{Raw: json.RawMessage(`"\ufffd"`), Path: "plain"},
	} {
		raw, err := Marshal(v)
		if err != nil || !json.Valid(raw) {
			t.Fatalf("%+v: %q, %v", v, raw, err)
		}
		var back all
		if err := Unmarshal(raw, &back); err != nil || !reflect.DeepEqual(v, back) {
			t.Errorf("%+v became %+v, %v, by %s", v, back, err, raw)
		}
		plain, err := json.Marshal(v)
		if err != nil || v.Path == "plain" && string(plain) != string(raw) {
			t.Errorf("%s is not %s, %v", raw, plain, err)
		}
	}
	var as any = []any{"\xe9", map[string]any{"\xe9": nil}, nil}
	raw, err := Marshal(as)
	var back any
	if err != nil || Unmarshal(raw, &back) != nil || !reflect.DeepEqual(as, back) {
		t.Errorf("%q became %q, %v", as, back, err)
	}
}

func TestCallKeepsBytes(t *testing.T) {
	t.Parallel()
	const text = "caf\xe9 \U0010FEE9"
	each(t, func() *Server {
		return server(func(_ context.Context, method string, call *Call) (any, error) {
			var p string
			if err := Unmarshal(call.params, &p); err != nil || p != text {
				t.Errorf("got %q, %v", p, err)
			}
			call.Event(p)
			if method == "fail" {
				return nil, errors.New(p)
			}
			return p, nil
		}, "fail")
	}, func(t *testing.T, c Conn) {
		event := func(raw json.RawMessage) {
			var got string
			if err := Unmarshal(raw, &got); err != nil || got != text {
				t.Errorf("event: got %q, %v", got, err)
			}
		}
		var got string
		if err := raw(t.Context(), c, "", text, &got, Outgoing{Event: event}); err != nil || got != text {
			t.Errorf("got %q, %v", got, err)
		}
		if err := raw(t.Context(), c, "fail", text, &got, Outgoing{Event: event}); err == nil || err.Error() != text {
			t.Errorf("got error %q", err)
		}
	})
}
