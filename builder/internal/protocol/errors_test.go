package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// cross takes an error over the wire.
func cross(t *testing.T, err error) (string, error) {
	t.Helper()
	encoded := Encode(fmt.Errorf("doing: %w", err))
	data, err := json.Marshal(encoded)
	if err != nil {
		t.Fatal(err)
	}
	back := &wire.Error{}
	if err := json.Unmarshal(data, back); err != nil {
		t.Fatal(err)
	}
	return encoded.Kind, Decode(back)
}

// mended is an error of another package that this machine is to blame for.
type mended struct{}

func (mended) Error() string { return "no newuidmap" }
func (mended) Fix() string   { return "install uidmap" }

// matches is a test of an error by errors.Is.
func matches(want error) func(error) bool {
	return func(err error) bool { return errors.Is(err, want) }
}

// as is a test of what is kept of an error of type E.
func as[E error](test func(E) bool) func(error) bool {
	return func(err error) bool {
		var e E
		return errors.As(err, &e) && test(e)
	}
}

// What the caller branches on is the same on both sides, and so is the text.
func TestErrorsCross(t *testing.T) {
	t.Parallel()
	limit := &limits.LimitError{What: "it", Limit: 3, Unit: "bytes"}
	refused := func(err error) error {
		return &registry.Error{Host: "r.example", Reason: registry.ReasonLogin, Err: err}
	}
	isRefused := as(func(e *registry.Error) bool { return e.Host == "r.example" && e.Reason == registry.ReasonLogin })
	seen := map[string]bool{}
	for _, test := range []struct {
		err  error
		kind string
		is   func(error) bool
		text string // "" is that of err
	}{
		{storage.ErrRemoved, "removed", matches(storage.ErrNotFound), ""},
		{fmt.Errorf("%w: %w", storage.ErrInUse, storage.ErrRemoved), "removed", matches(errdefs.ErrUncached), ""},
		{mended{}, "host", as(func(e *errdefs.HostError) bool { return e.Remedy == "install uidmap" }), ""},
		{&errdefs.ExitError{Code: 3}, "exit", as(func(e *errdefs.ExitError) bool { return *e == errdefs.ExitError{Code: 3} }), "-"},
		{&errdefs.ExitError{Code: 127, Reason: "caf\xe9"}, "exit", as(func(e *errdefs.ExitError) bool { return *e == errdefs.ExitError{Code: 127, Reason: "caf\xe9"} }), "-"},
		{limit, "limit", as(func(e *limits.LimitError) bool { return *e == *limit && errors.Is(e, errdefs.ErrInvalid) }), ""},
		{&storage.LayerError{Layer: "l", Err: errors.New("disk full")}, "layer", as(func(e *storage.LayerError) bool { return e.Layer == "l" }), ""},
		{&storage.LayerError{Layer: "l", Err: tarfilter.ErrUnfit}, "layer", as(func(e *storage.LayerError) bool { return e.Layer == "l" && errors.Is(e, tarfilter.ErrUnfit) }), ""},
		{&storage.LayerError{Layer: "l", Err: limit}, "layer", as(func(e *limits.LimitError) bool { return *e == *limit }), ""},
		{&fs.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}, "no-space", matches(limits.ErrNoSpace), ""},
		{&storage.LayerError{Layer: "l", Err: syscall.EDQUOT}, "layer", matches(limits.ErrNoSpace), ""},
		{errdefs.ErrNotFound, "no-file", matches(errdefs.ErrNotFound), ""},
		{errdefs.ErrFetch, "fetch", matches(errdefs.ErrFetch), ""},
		{refused(errors.New("unauthorized")), "registry", isRefused, ""},
		{refused(storage.ErrNotFound), "registry", matches(registry.ErrRegistry), ""},
		{storage.ErrNotFound, "image-not-found", matches(storage.ErrNotFound), ""},
		{imageref.ErrInvalid, "reference", matches(imageref.ErrInvalid), ""},
		{storage.ErrInUse, "in-use", matches(storage.ErrInUse), ""},
		{tarfilter.ErrUnfit, "unfit", matches(tarfilter.ErrUnfit), ""},
		{storage.ErrDriver, "invalid", matches(errdefs.ErrInvalid), ""},
		{errdefs.ErrUserNotFound, "no-user", matches(errdefs.ErrUserNotFound), ""},
		{errdefs.ErrInvalid, "invalid", matches(errdefs.ErrInvalid), ""},
		{errdefs.ErrUncached, "uncached", matches(errdefs.ErrUncached), ""},
		{errors.New("whatever"), "", as(func(e *wire.Error) bool { return true }), ""},
	} {
		kind, got := cross(t, test.err)
		seen[kind] = true
		if kind != test.kind || !test.is(got) {
			t.Errorf("%v crossed as %q and became %#v", test.err, kind, got)
		}
		if want := "doing: " + test.err.Error(); test.text == "" && got.Error() != want {
			t.Errorf("got the text %q, want %q", got, want)
		}
	}
	for _, k := range kinds() {
		if !seen[k.name] {
			t.Errorf("kind %q is not tried; those that are: %q", k.name, slices.Sorted(maps.Keys(seen)))
		}
	}
}

// What comes from another version, or is damaged, is an error with its text.
func TestDecodeOdd(t *testing.T) {
	t.Parallel()
	for _, k := range append(kinds(), kind{name: "of the future"}) {
		for _, detail := range []string{"", "null", "1", "{}", `{"ID":3}`, `{"Cause":{"Kind":"layer","Detail":{"Cause":{}}}}`, "{"} {
			if err := Decode(&wire.Error{Kind: k.name, Message: "text", Detail: json.RawMessage(detail)}); err == nil {
				t.Errorf("%s with %s is no error", k.name, detail)
			} else if got := err.Error(); got != "text" && k.name != "exit" {
				t.Errorf("%s with %s: %q", k.name, detail, got)
			}
		}
	}
}
