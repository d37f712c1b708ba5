package protocol

import (
	"encoding/json"
	"errors"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/storage"
	"github.com/oakum-build/oakum/storage/artifact"
	"github.com/oakum-build/oakum/storage/imageref"
	"github.com/oakum-build/oakum/storage/registry"
	"github.com/oakum-build/oakum/storage/remotecache"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// kind is a kind of error that crosses the wire: how the worker knows it, and what the
// caller gets for it.
type kind struct {
	name string
	// detail says whether an error is of the kind, and what is kept of it beside its text.
	detail func(err error) (detail any, ok bool)
	// restore makes the caller's error of its text and what was kept.
	restore func(text string, detail json.RawMessage) error
}

// kinds are all that there are. An error is of the first that it fits.
func kinds() []kind {
	return []kind{
		sentinel("removed", storage.ErrRemoved, errors.Join(storage.ErrNotFound, errdefs.ErrUncached)), // whatever else has gone wrong for that
		typed("layer", func(err *storage.LayerError) layer { return layer{err.Layer, Encode(err.Err)} },
			func(text string, d layer) error {
				if d.Cause == nil {
					d.Cause = &wire.Error{}
				}
				d.Cause.Message = text
				return &storage.LayerError{Layer: d.ID, Err: Decode(d.Cause)}
			}),
		typed("host", func(err fixable) errdefs.HostError { return errdefs.HostError{Remedy: err.Fix()} },
			func(text string, d errdefs.HostError) error {
				return &errdefs.HostError{Missing: text, Remedy: d.Remedy}
			}),
		typed("exit", func(err *errdefs.ExitError) errdefs.ExitError { return *err },
			func(_ string, d errdefs.ExitError) error { return &d }),
		typed("limit", func(err *limits.LimitError) limits.LimitError { return *err },
			func(text string, d limits.LimitError) error { return &failure{&d, text} }),
		{"no-space", func(err error) (any, bool) { return nil, limits.IsNoSpace(err) },
			func(text string, _ json.RawMessage) error { return &failure{limits.ErrNoSpace, text} }},
		same("no-file", errdefs.ErrNotFound),
		same("fetch", errdefs.ErrFetch),
		typed("registry", func(err *registry.Error) refusal { return refusal{err.Host, err.Reason} },
			func(text string, d refusal) error {
				return &registry.Error{Host: d.Host, Reason: d.Reason, Err: errors.New(text)}
			}),
		same("image-not-found", storage.ErrNotFound),
		same("reference", imageref.ErrInvalid),
		same("in-use", storage.ErrInUse),
		same("unfit", tarfilter.ErrUnfit),
		sentinel("invalid", storage.ErrDriver, errdefs.ErrInvalid),
		sentinel("invalid", storage.ErrNoStore, errdefs.ErrInvalid),
		sentinel("invalid", artifact.ErrInvalid, errdefs.ErrInvalid),
		sentinel("invalid", remotecache.ErrInvalid, errdefs.ErrInvalid),
		same("no-user", errdefs.ErrUserNotFound),
		same("invalid", errdefs.ErrInvalid),
		same("uncached", errdefs.ErrUncached),
	}
}

// fixable is an error that this machine is to blame for, and that says how to mend it.
type fixable interface {
	error
	Fix() string
}

// layer is what is kept of a storage.LayerError, and refusal of a registry.Error.
type (
	layer struct {
		ID    string
		Cause *wire.Error
	}
	refusal struct{ Host, Reason string }
)

// same is the kind of errors that match one of which nothing but the text is kept.
func same(name string, is error) kind { return sentinel(name, is, is) }

// sentinel is the kind of errors that match is, and of which the caller gets one that
// matches as.
func sentinel(name string, is, as error) kind {
	return kind{name,
		func(err error) (any, bool) { return nil, errors.Is(err, is) },
		func(text string, _ json.RawMessage) error { return &failure{as, text} },
	}
}

// typed is the kind of errors of type E, of which a D is kept.
func typed[E error, D any](name string, keep func(E) D, restore func(text string, d D) error) kind {
	return kind{name,
		func(err error) (any, bool) {
			var e E
			if !errors.As(err, &e) {
				return nil, false
			}
			return keep(e), true
		},
		func(text string, detail json.RawMessage) error {
			var d D
			if err := wire.Unmarshal(detail, &d); err != nil {
				return errors.New(text)
			}
			return restore(text, d)
		},
	}
}

// Encode gives an error the form in which it crosses the wire.
func Encode(err error) *wire.Error {
	for _, k := range kinds() {
		detail, ok := k.detail(err)
		if !ok {
			continue
		}
		e := &wire.Error{Kind: k.name, Message: err.Error()}
		if detail != nil {
			e.Detail, _ = wire.Marshal(detail) // without it the text is left
		}
		return e
	}
	return &wire.Error{Message: err.Error()}
}

// Decode gives what has crossed the wire the type that it had: the error matches what the one
// matched that was encoded, as far as there is a kind for it.
func Decode(e *wire.Error) error {
	for _, k := range kinds() {
		if k.name == e.Kind {
			return k.restore(e.Message, e.Detail)
		}
	}
	return e
}

// failure is an error of a kind: its text, and what it matches.
type failure struct {
	kind error
	text string
}

func (e *failure) Error() string { return e.text }
func (e *failure) Unwrap() error { return e.kind }
