package buildertest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/usage"
)

func testWorkdir(t *testing.T, s suite) {
	st := s.stage(t, builder.Scratch, builder.StageOptions{})
	done(t)(st.Workdir(t.Context(), "/a/b", ""))
	done(t)(st.Workdir(t.Context(), "c", "WORKDIR as written"))
	if got := st.Config().WorkingDir; got != "/a/b/c" {
		t.Errorf("working directory %q", got)
	}
	done(t)(st.Copy(t.Context(), "f", builder.Bytes("f", []byte("f"))))
	holds(t, st, "/a/b/c/f", "f")
	img, err := st.Commit(t.Context(), "w", builder.CommitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.b.Inspect(t.Context(), img.ID)
	if err != nil {
		t.Fatal(err)
	}
	var history []string
	for _, h := range d.History {
		history = append(history, fmt.Sprint(h.CreatedBy, h.EmptyLayer))
	}
	if want := []string{"WORKDIR /a/bfalse", "WORKDIR as writtenfalse", "COPY f ffalse"}; !slices.Equal(history, want) {
		t.Errorf("history %q, want %q", history, want)
	}
}

func testCommit(t *testing.T, s suite) {
	st := s.stage(t, builder.Scratch, builder.StageOptions{})
	done(t)(st.CopyWith(t.Context(), builder.CopyOptions{History: "COPY as written"}, "/f", builder.Bytes("f", []byte("f"))))
	st.Configure("CMD", func(c *builder.Config) { c.Cmd = []string{"/f"} })
	created := time.Unix(1e9, 0).UTC()
	img, err := st.Commit(t.Context(), "app:v1", builder.CommitOptions{Names: []string{"example.com/team/app"}, Created: &created, Author: "me", Comment: "why"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(img.Names, []string{"localhost/app:v1", "example.com/team/app:latest"}) {
		t.Errorf("names %q", img.Names)
	}
	d, err := s.b.Inspect(t.Context(), "app:v1")
	if err != nil {
		t.Fatal(err)
	}
	if d.ID != img.ID || d.Author != "me" || !d.Created.Equal(created) || len(d.Layers) != 1 || !slices.Equal(d.Config.Cmd, []string{"/f"}) || d.OS != "linux" || d.Architecture == "" {
		t.Errorf("got %+v", d)
	}
	if len(d.History) != 2 || d.History[0].CreatedBy != "COPY as written" || d.History[0].EmptyLayer || d.History[1].CreatedBy != "CMD" || !d.History[1].EmptyLayer || d.History[1].Comment != "why" {
		t.Errorf("history %+v", d.History)
	}
	again, err := st.Commit(t.Context(), "", builder.CommitOptions{Created: &created, Author: "me", Comment: "why"})
	if err != nil || again.ID != img.ID {
		t.Errorf("the same again is %s, %v, want %s", again.ID, err, img.ID)
	}
	_, err = st.Commit(t.Context(), "Not/A Name", builder.CommitOptions{})
	is(t, err, builder.ErrReference)
	_, err = st.Commit(t.Context(), "x", builder.CommitOptions{Format: "tar"})
	is(t, err, builder.ErrInvalid)
	next := s.stage(t, "app:v1", builder.StageOptions{Pull: "never"})
	holds(t, next, "/f", "f")
	if got := next.Config().Cmd; !slices.Equal(got, []string{"/f"}) {
		t.Errorf("command %q", got)
	}
}

func testImages(t *testing.T, s suite) {
	commit := func(name, content string) builder.Image {
		st := s.stage(t, builder.Scratch, builder.StageOptions{})
		done(t)(st.Copy(t.Context(), "/f", builder.Bytes("f", []byte(content))))
		img, err := st.Commit(t.Context(), name, builder.CommitOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		return img
	}
	one, two := commit("one", "1"), commit("two", "2")
	if err := s.b.Tag(t.Context(), "one", "also:v2"); err != nil {
		t.Fatal(err)
	}
	images, err := s.b.Images(t.Context())
	if err != nil || len(images) != 2 {
		t.Errorf("images %+v, %v", images, err)
	}
	_, err = s.b.Remove(t.Context(), one.ID, builder.RemoveOptions{})
	is(t, err, builder.ErrInUse)
	removed, err := s.b.Remove(t.Context(), "one", builder.RemoveOptions{})
	if err != nil || !slices.Equal(removed.Untagged, []string{"localhost/one:latest"}) || len(removed.Deleted) > 0 {
		t.Errorf("removed %+v, %v", removed, err)
	}
	removed, err = s.b.Remove(t.Context(), one.ID[:12], builder.RemoveOptions{})
	if err != nil || !slices.Equal(removed.Deleted, []string{one.ID}) {
		t.Errorf("removed %+v, %v", removed, err)
	}
	_, err = s.b.Inspect(t.Context(), "also:v2")
	is(t, err, builder.ErrImageNotFound)
	if d, err := s.b.Inspect(t.Context(), "two"); err != nil || d.ID != two.ID {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := s.b.Prune(t.Context(), usage.Options{}); err != nil {
		t.Error(err)
	}
	_ = commit("two", "2")
	is(t, s.b.Tag(t.Context(), "none", "x"), builder.ErrImageNotFound)
}

func testBase(t *testing.T, s suite) {
	_, err := s.b.Stage(t.Context(), s.Base, builder.StageOptions{Pull: "never"})
	is(t, err, builder.ErrImageNotFound)
	st := s.stage(t, s.Base, builder.StageOptions{})
	if _, err := st.ReadFile(t.Context(), "/etc/passwd", 1<<16); err != nil {
		t.Error(err)
	}
	s.stage(t, s.Base, builder.StageOptions{Pull: "never"})
	_, err = s.b.Stage(t.Context(), "", builder.StageOptions{})
	is(t, err, builder.ErrReference)
	_, err = s.b.Stage(t.Context(), builder.Scratch, builder.StageOptions{Platform: "none"})
	is(t, err, builder.ErrInvalid)
	if got := s.stage(t, builder.Scratch, builder.StageOptions{Platform: "linux/arm64"}).Platform(); got != "linux/arm64" {
		t.Errorf("platform %s", got)
	}
}
