//go:build linux

package builder_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// nowhere is a registry that nothing listens for.
const nowhere = "127.0.0.1:1/team/app:v1"

// Each sentinel is what the calls that promise it give; those of Copy and Run have
// tests of their own.
func TestErrors(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	img, err := s.Commit(t.Context(), "app", builder.CommitOptions{Names: []string{"also"}})
	ok(t, err)
	from := func(ref string, pull string) func(context.Context) error {
		return func(ctx context.Context) error {
			s, err := b.Stage(ctx, ref, builder.StageOptions{Pull: pull})
			if err == nil {
				err = s.Close()
			}
			return err
		}
	}
	inspect := func(ref string) func(context.Context) error {
		return func(ctx context.Context) error { _, err := b.Inspect(ctx, ref); return err }
	}
	remove := func(ref string) func(context.Context) error {
		return func(ctx context.Context) error { _, err := b.Remove(ctx, ref, builder.RemoveOptions{}); return err }
	}
	pull := func(ref string) func(context.Context) error {
		return func(ctx context.Context) error { _, err := b.Pull(ctx, ref, builder.PullOptions{}); return err }
	}
	push := func(ref, dest string, opts builder.PushOptions) func(context.Context) error {
		return func(ctx context.Context) error { _, err := b.Push(ctx, ref, dest, opts); return err }
	}
	tag := func(ref string, names ...string) func(context.Context) error {
		return func(ctx context.Context) error { return b.Tag(ctx, ref, names...) }
	}
	gone := "app@sha256:" + strings.Repeat("0", 64)
	tests := []struct {
		name string
		call func(context.Context) error
		want error
	}{
		{"stage of a missing image", from("nope", "never"), builder.ErrImageNotFound},
		{"stage of a missing full name", from(nowhere, "never"), builder.ErrImageNotFound},
		{"stage from no registry", from(nowhere, ""), builder.ErrRegistry},
		{"stage always from no registry", from(nowhere, "always"), builder.ErrRegistry},
		{"stage newer from no registry", from("app", "newer"), nil},
		{"stage of a bad name", from("UPPER", "never"), builder.ErrReference},
		{"stage of no name", from("", ""), builder.ErrReference},
		{"stage by a bad policy", from("app", "sometimes"), builder.ErrInvalid},
		{"inspect", inspect("nope"), builder.ErrImageNotFound},
		{"inspect a bad name", inspect("a b"), builder.ErrReference},
		{"inspect nothing", inspect(""), builder.ErrReference},
		{"inspect a digest", inspect(gone), builder.ErrImageNotFound},
		{"inspect an id", inspect(strings.Repeat("0", 64)), builder.ErrImageNotFound},
		{"inspect too short an id", inspect(img.ID[:2]), builder.ErrImageNotFound},
		{"tag a missing image", tag("nope", "x"), builder.ErrImageNotFound},
		{"tag badly", tag("app", "X"), builder.ErrReference},
		{"tag with a digest", tag("app", gone), builder.ErrReference},
		{"remove a missing image", remove("nope"), builder.ErrImageNotFound},
		{"remove by id what has names", remove(img.ID), builder.ErrInUse},
		{"pull from no registry", pull(nowhere), builder.ErrRegistry},
		{"pull by transport from no registry", pull("docker://" + nowhere), builder.ErrRegistry},
		{"pull a bad name", pull("a b"), builder.ErrReference},
		{"pull a bad name by transport", pull("docker://a b"), builder.ErrReference},
		{"pull a missing archive", pull("oci-archive:/no/such/file.tar"), builder.ErrImageNotFound},
		{"pull a missing archive of a directory", pull("oci-archive:" + t.TempDir() + "/file.tar"), builder.ErrImageNotFound},
		{"pull a missing docker archive", pull("docker-archive:" + t.TempDir() + "/file.tar"), builder.ErrImageNotFound},
		{"pull a missing layout", pull("oci:" + t.TempDir() + "/none"), builder.ErrImageNotFound},
		{"pull a missing directory", pull("dir:" + t.TempDir() + "/none"), builder.ErrImageNotFound},
		{"push a missing image", push("nope", "dir:/x", builder.PushOptions{}), builder.ErrImageNotFound},
		{"push to no registry", push("app", nowhere, builder.PushOptions{}), builder.ErrRegistry},
		{"push to a bad name", push("app", "a b", builder.PushOptions{}), builder.ErrReference},
		{"push an id without destination", push(img.ID, "", builder.PushOptions{}), builder.ErrReference},
		{"push in a bad format", push("app", "dir:"+t.TempDir(), builder.PushOptions{Format: "zip"}), builder.ErrInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.call(t.Context())
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), os.TempDir()+"/oakum-store") {
				t.Errorf("the error tells of the store's insides: %v", err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range tests {
		if test.name == "stage of no name" || test.name == "push in a bad format" {
			continue // they are refused before
		}
		is(t, test.call(ctx), context.Canceled)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	img, err := s.Commit(t.Context(), "app", builder.CommitOptions{Names: []string{"also:v1"}})
	ok(t, err)
	removed := func(ref string, opts builder.RemoveOptions, untagged, deleted string) {
		t.Helper()
		got, err := b.Remove(t.Context(), ref, opts)
		ok(t, err)
		equal(t, strings.Join(sorted(got.Untagged), " ")+"|"+strings.Join(got.Deleted, " "), untagged+"|"+deleted)
	}
	removed("app", builder.RemoveOptions{}, "localhost/app:latest", "")
	// A stage that is open keeps what it is on, also from force.
	for _, force := range []bool{false, true} {
		_, err = b.Remove(t.Context(), "also:v1", builder.RemoveOptions{Force: force})
		is(t, err, builder.ErrInUse)
	}
	ok(t, s.Close())
	removed("also:v1", builder.RemoveOptions{}, "localhost/also:v1", img.ID)
	_, err = b.Inspect(t.Context(), img.ID)
	is(t, err, builder.ErrImageNotFound)
	next := base(t, b)
	img, err = next.Commit(t.Context(), "app", builder.CommitOptions{Names: []string{"b", "c"}})
	ok(t, err)
	ok(t, next.Close())
	_, err = b.Remove(t.Context(), img.ID[:12], builder.RemoveOptions{})
	is(t, err, builder.ErrInUse)
	removed(img.ID[:12], builder.RemoveOptions{Force: true}, "localhost/app:latest localhost/b:latest localhost/c:latest", img.ID)
	images, err := b.Images(t.Context())
	ok(t, err)
	if len(images) != 0 {
		t.Errorf("left: %+v", images)
	}
}

// An image that another is built on is removed, and the other stays whole.
func TestRemoveBase(t *testing.T) {
	t.Parallel()
	b := open(t)
	s := base(t, b)
	below, err := s.Commit(t.Context(), "below", builder.CommitOptions{})
	ok(t, err)
	run(t, s, "echo x >/f")
	_, err = s.Commit(t.Context(), "above", builder.CommitOptions{})
	ok(t, err)
	ok(t, s.Close())
	_, err = b.Remove(t.Context(), below.ID, builder.RemoveOptions{})
	ok(t, err)
	equal(t, sh(t, stage(t, b, "above", builder.StageOptions{}), "cat /f"), "x\n")
}

// A driver or an option that builds cannot have is refused in a sentence that says what to do.
func TestOtherDriver(t *testing.T) {
	t.Parallel()
	_, err := builder.Open(t.Context(), builder.Options{Root: tempDir(t), Driver: "vfs"})
	is(t, err, builder.ErrInvalid)
	if !strings.Contains(err.Error(), "vfs") || !strings.Contains(err.Error(), "leave the driver out") {
		t.Errorf("got %v", err)
	}
	_, err = builder.Open(t.Context(), builder.Options{Root: tempDir(t), DriverOptions: []string{"overlay.mount_program=/bin/true", "overlay.force_mask=shared"}})
	is(t, err, builder.ErrInvalid)
	blocked := filepath.Join(t.TempDir(), "file")
	ok(t, os.WriteFile(blocked, nil, 0o600))
	if _, err := builder.Open(t.Context(), builder.Options{Root: filepath.Join(blocked, "store")}); err == nil {
		t.Error("a store below a file was opened")
	}
}
