package buildertest

import (
	"errors"
	"runtime"
	"slices"
	"testing"

	godigest "github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/storage/imageindex"
)

// otherArch is a processor that this machine has not.
func otherArch() string {
	if runtime.GOARCH == "s390x" {
		return "riscv64"
	}
	return "s390x"
}

// indexed makes an index of two images, which hold the name of their architecture.
func (s suite) indexed(t *testing.T, name string, opts builder.CommitOptions) (builder.Image, []builder.Image) {
	t.Helper()
	var images []builder.Image
	var ids []imageindex.Member
	for _, arch := range []string{otherArch(), runtime.GOARCH} {
		st := s.stage(t, builder.Scratch, builder.StageOptions{Platform: "linux/" + arch})
		done(t)(st.Copy(t.Context(), "/arch", builder.Bytes("arch", []byte(arch))))
		img, err := st.Commit(t.Context(), "", builder.CommitOptions{Format: opts.Format})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		images, ids = append(images, img), append(ids, imageindex.Member{Ref: img.ID})
	}
	multi, err := s.b.CommitIndex(t.Context(), name, ids, opts)
	if err != nil {
		t.Fatal(err)
	}
	return multi, images
}

func testIndex(t *testing.T, s suite) {
	multi, images := s.indexed(t, "multi:1", builder.CommitOptions{Names: []string{"more"}, Annotations: map[string]string{"a": "b"}})
	if !slices.Equal(multi.Names, []string{"localhost/multi:1", "localhost/more:latest"}) || len(multi.Index) != 2 || multi.Size != images[0].Size+images[1].Size {
		t.Errorf("got %+v", multi)
	}
	for i, m := range multi.Index {
		want := []string{otherArch(), runtime.GOARCH}[i]
		if m.Digest != images[i].Digest || m.Platform == nil || m.Platform.Architecture != want || m.Platform.OS != "linux" || m.MediaType != imgspec.MediaTypeImageManifest {
			t.Errorf("%s: got %+v", want, m)
		}
	}
	again, _ := s.indexed(t, "", builder.CommitOptions{Annotations: map[string]string{"a": "b"}})
	if again.ID != multi.ID {
		t.Error("the same index has another id")
	}
	d, err := s.b.Inspect(t.Context(), "multi:1")
	if err != nil || d.ID != multi.ID || len(d.Index) != 2 || d.Manifest.MediaType != imgspec.MediaTypeImageIndex || d.Architecture != "" {
		t.Errorf("got %+v, %v", d, err)
	}
	for platform, want := range map[string]string{"": runtime.GOARCH, "local": runtime.GOARCH, "linux/" + otherArch(): otherArch()} {
		d, err := s.b.InspectFor(t.Context(), "multi:1", platform)
		if err != nil || d.Architecture != want || d.Index != nil {
			t.Errorf("%s: got %+v, %v", platform, d, err)
		}
		st := s.stage(t, "multi:1", builder.StageOptions{Platform: platform, Pull: "never"})
		holds(t, st, "/arch", want)
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.b.InspectFor(t.Context(), "multi:1", "linux/mips"); !errors.Is(err, builder.ErrImageNotFound) {
		t.Errorf("a platform that is not there: %v", err)
	}
	if _, err := s.b.Stage(t.Context(), "multi:1", builder.StageOptions{Platform: "linux/mips", Pull: "never"}); !errors.Is(err, builder.ErrImageNotFound) {
		t.Errorf("a stage for a platform that is not there: %v", err)
	}
	for _, bad := range [][]imageindex.Member{nil, {{Ref: "none"}}} {
		if _, err := s.b.CommitIndex(t.Context(), "bad", bad, builder.CommitOptions{}); err == nil {
			t.Errorf("an index of %+v was made", bad)
		}
	}
	docker, _ := s.indexed(t, "", builder.CommitOptions{Format: "docker"})
	if d, err := s.b.Inspect(t.Context(), docker.ID); err != nil || d.Manifest.MediaType != "application/vnd.docker.distribution.manifest.list.v2+json" {
		t.Errorf("Docker's format: %+v, %v", d, err)
	}
}

// testIndexRemove: the images of an index are there as long as the index is.
func testIndexRemove(t *testing.T, s suite) {
	multi, images := s.indexed(t, "multi", builder.CommitOptions{})
	other, err := s.b.CommitIndex(t.Context(), "other", []imageindex.Member{{Ref: images[0].ID}}, builder.CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.b.Images(t.Context())
	if err != nil || len(all) != 4 {
		t.Fatalf("got %+v, %v", all, err)
	}
	for _, img := range all {
		want := map[string]int{images[0].ID: 2, images[1].ID: 1}[img.ID]
		if len(img.Within) != want || want > 0 && len(img.Names) > 0 {
			t.Errorf("got %+v", img)
		}
	}
	for _, opts := range []builder.RemoveOptions{{}, {Force: true}, {Unnamed: true}} {
		if _, err := s.b.Remove(t.Context(), images[0].ID, opts); !errors.Is(err, builder.ErrInUse) {
			t.Errorf("%+v: an image of an index was removed: %v", opts, err)
		}
	}
	if err := s.b.Tag(t.Context(), images[1].ID, "own"); err != nil {
		t.Fatal(err)
	}
	removed, err := s.b.Remove(t.Context(), "own", builder.RemoveOptions{})
	if err != nil || len(removed.Deleted) > 0 {
		t.Errorf("a name of an image of an index: %+v, %v", removed, err)
	}
	if removed, err = s.b.Remove(t.Context(), "multi", builder.RemoveOptions{}); err != nil || !slices.Equal(removed.Deleted, []string{multi.ID, images[1].ID}) {
		t.Errorf("got %+v, %v", removed, err)
	}
	if removed, err = s.b.Remove(t.Context(), "other", builder.RemoveOptions{}); err != nil || !slices.Equal(removed.Deleted, []string{other.ID, images[0].ID}) {
		t.Errorf("got %+v, %v", removed, err)
	}
}

// testIndexEdit: an index is made, changed and replaced by one call each, and keeps its name.
func testIndexEdit(t *testing.T, s suite) {
	_, images := s.indexed(t, "", builder.CommitOptions{})
	edit := func(e imageindex.Edit) builder.Image {
		t.Helper()
		img, err := s.b.EditIndex(t.Context(), "list:1", e, builder.Registry{})
		if err != nil {
			t.Fatal(err)
		}
		found, err := s.b.Inspect(t.Context(), "list:1")
		if err != nil || found.ID != img.ID || found.Index == nil || found.Digest != img.Digest {
			t.Fatalf("got %+v, %v, want %+v", found, err, img)
		}
		return img
	}
	refused := func(is error, e imageindex.Edit) {
		t.Helper()
		if img, err := s.b.EditIndex(t.Context(), "list:1", e, builder.Registry{}); !errors.Is(err, is) {
			t.Errorf("%+v: got %+v, %v, want %v", e, img, err, is)
		}
	}
	refused(builder.ErrImageNotFound, imageindex.Edit{})
	refused(builder.ErrInvalid, imageindex.Edit{Make: "other"})
	if empty := edit(imageindex.Edit{Make: "new"}); len(empty.Index) != 0 {
		t.Errorf("got %+v", empty)
	}
	refused(builder.ErrInUse, imageindex.Edit{Make: "new"})
	refused(builder.ErrImageNotFound, imageindex.Edit{Remove: []godigest.Digest{images[0].Digest}})
	refused(builder.ErrInvalid, imageindex.Edit{Remove: []godigest.Digest{"x"}})
	refused(builder.ErrImageNotFound, imageindex.Edit{Add: []imageindex.Member{{Ref: images[0].Digest.String()}}})
	edit(imageindex.Edit{Add: []imageindex.Member{{Ref: images[0].ID}}, Annotations: map[string]string{"a": "1"}})
	both := edit(imageindex.Edit{Make: "amend", Add: []imageindex.Member{{Ref: images[1].ID}, {Ref: images[1].ID}}})
	if len(both.Index) != 2 || both.Index[0].Digest != images[0].Digest || both.Index[1].Platform.Architecture != runtime.GOARCH {
		t.Errorf("got %+v", both.Index)
	}
	said := edit(imageindex.Edit{Add: []imageindex.Member{{
		Ref: images[1].Digest.String(), Platform: &imgspec.Platform{OS: "linux", Architecture: "arm", Variant: "v6"}, Annotations: map[string]string{"b": "2"},
	}}})
	if m := said.Index[1]; m.Platform.Variant != "v6" || m.Annotations["b"] != "2" || m.Digest != images[1].Digest {
		t.Errorf("got %+v", m)
	}
	kept := edit(imageindex.Edit{Add: []imageindex.Member{{Ref: images[1].Digest.String()}}, Annotations: map[string]string{"c": "3"}})
	if m := kept.Index[1]; m.Platform.Variant != "v6" || m.Annotations["b"] != "2" {
		t.Errorf("got %+v", m)
	}
	if d, err := s.b.Inspect(t.Context(), "list:1"); err != nil || d.Annotations["a"] != "1" || d.Annotations["c"] != "3" {
		t.Errorf("got %+v, %v", d, err)
	}
	if one := edit(imageindex.Edit{Remove: []godigest.Digest{images[0].Digest}}); len(one.Index) != 1 || one.Index[0].Digest != images[1].Digest {
		t.Errorf("got %+v", one)
	}
	if _, err := s.b.Inspect(t.Context(), images[0].ID); err != nil {
		t.Errorf("an image that was taken out is gone: %v", err)
	}
	again := edit(imageindex.Edit{Make: "replace", Docker: true})
	all, err := s.b.Images(t.Context())
	if err != nil || len(all) != 4 || len(again.Index) != 0 { // the first index has no name, and is not changed
		t.Errorf("got %+v, %v", all, err)
	}
}
