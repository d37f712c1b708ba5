//go:build linux

package worker

import (
	"errors"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/internal/download"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/gitrepo"
	"github.com/oakum-build/oakum/builder/internal/nsenter"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/storage"
)

// errInvalid is an argument that cannot be.
var errInvalid = errors.New("invalid argument")

// errUncached is a step that is not in the cache, where it must be.
var errUncached = errors.New("not in the layer cache")

func hostError(missing, fix string) error {
	detail, err := wire.Marshal(nsenter.Fault{Missing: missing, Fix: fix})
	if err != nil {
		return errors.New(missing)
	}
	return &wire.Error{Kind: KindHost, Message: missing, Detail: detail}
}

// wireError gives an error the kind by which the caller knows it.
func wireError(err error) error {
	if errors.Is(err, storage.ErrRemoved) { // whatever else has gone wrong for that
		return &wire.Error{Kind: KindNotFound, Message: err.Error()}
	}
	var fix interface {
		error
		Fix() string
	}
	if errors.As(err, &fix) {
		return hostError(err.Error(), fix.Fix())
	}
	var already *wire.Error
	if errors.As(err, &already) {
		return err
	}
	var limit *foreign.LimitError
	if errors.As(err, &limit) {
		if detail, failed := wire.Marshal(limit); failed == nil {
			return &wire.Error{Kind: KindLimit, Message: err.Error(), Detail: detail}
		}
	}
	var layer *storage.LayerError
	if errors.As(err, &layer) {
		return layerError(layer, err)
	}
	var noFile *filecopy.NotFoundError
	if errors.As(err, &noFile) {
		return &wire.Error{Kind: KindNoFile, Message: err.Error()}
	}
	var invalid *filecopy.InvalidError
	var badRef *gitrepo.RefError
	if errors.As(err, &invalid) || errors.As(err, &badRef) {
		return &wire.Error{Kind: KindInvalid, Message: err.Error()}
	}
	var notDownloaded *download.Error
	var noRepository *gitrepo.Error
	if errors.As(err, &notDownloaded) || errors.As(err, &noRepository) {
		return &wire.Error{Kind: KindFetch, Message: err.Error()}
	}
	var registry *storage.RegistryError
	if errors.As(err, &registry) {
		detail, _ := wire.Marshal(RegistryDetail{registry.Host, registry.Reason}) // two strings
		return &wire.Error{Kind: KindRegistry, Message: err.Error(), Detail: detail}
	}
	kinds := []struct {
		err  error
		kind string
	}{
		{storage.ErrNotFound, KindNotFound}, {storage.ErrReference, KindReference},
		{storage.ErrRegistry, KindRegistry}, {storage.ErrInUse, KindInUse},
		{storage.ErrUnfit, KindUnfit}, {storage.ErrDriver, KindInvalid}, {sandbox.ErrNoUser, KindNoUser}, {errInvalid, KindInvalid},
		{errUncached, KindUncached},
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return &wire.Error{Kind: k.kind, Message: err.Error()}
		}
	}
	return err
}

func exitError(code int, message string) error {
	detail, err := wire.Marshal(ExitDetail{Code: code, Message: message})
	if err != nil {
		return err
	}
	return &wire.Error{Kind: KindExit, Message: message, Detail: detail}
}

// layerError keeps the kind of a layer's error beside the layer.
func layerError(layer *storage.LayerError, err error) error {
	d := LayerDetail{ID: layer.ID}
	var cause *wire.Error
	if errors.As(wireError(layer.Err), &cause) {
		d.Kind = cause.Kind
	}
	detail, _ := wire.Marshal(d) // two strings
	return &wire.Error{Kind: KindLayer, Message: err.Error(), Detail: detail}
}
