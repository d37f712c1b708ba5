package dockerfile_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/index"
	"github.com/oakum-build/oakum/dockerfile"
)

// twoPlatforms are none of this machine's.
var twoPlatforms = []string{"linux/s390x", "linux/riscv64"}

// shells is a context with busybox, and the beginning of a Dockerfile that has it as shell.
func shells(t *testing.T) (dir, text string) {
	t.Helper()
	dir = t.TempDir()
	program, err := os.ReadFile(busybox)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "busybox"), program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, "FROM --platform=$BUILDPLATFORM scratch AS tool\nCOPY busybox /bin/sh\nCOPY busybox /bin/cat\nCOPY busybox /bin/sleep\n"
}

// TestSeveralPlatforms: what does not depend on the platform is done once, and the images are those
// of an index.
func TestSeveralPlatforms(t *testing.T) {
	t.Parallel()
	b := open(t)
	dir, text := shells(t)
	text += `RUN cat /proc/sys/kernel/random/uuid >/once
FROM tool AS each
ARG TARGETARCH
RUN cat /proc/sys/kernel/random/uuid >/each
FROM scratch
COPY --from=tool /once /
COPY --from=each /each /
ARG TARGETPLATFORM
LABEL for=$TARGETPLATFORM
`
	ran, warned := map[string]int{}, 0
	opts := dockerfile.Options{
		Context: dockerfile.Context{Dir: dir}, File: dockerfile.File{Text: strings.NewReader(text)},
		Platforms: append(twoPlatforms, twoPlatforms[0]), BuildArgs: map[string]*string{"UNUSED": new(string)},
		Image: dockerfile.Image{Names: []string{"multi", "more:2"}, Annotations: []index.Annotation{{Name: "a", Value: "b"}}},
		Steps: dockerfile.Steps{NoCache: true},
		Progress: func(e dockerfile.Event) {
			switch {
			case e.Kind == dockerfile.Warning:
				warned++
			case e.Kind == dockerfile.StepFinished && !e.Cached && strings.HasPrefix(e.Instruction, "RUN"):
				ran[e.Stage]++
			}
			if e.Kind != dockerfile.Warning && e.Platform != twoPlatforms[0] && e.Platform != twoPlatforms[1] {
				t.Errorf("a step is for %q", e.Platform)
			}
		},
	}
	var before string
	for range 2 {
		clear(ran)
		warned = 0
		opts.File.Text = strings.NewReader(text)
		img, err := dockerfile.Build(t.Context(), b, opts)
		if err != nil {
			t.Fatal(err)
		}
		if ran["tool"] != 1 || ran["each"] != 2 || warned != 1 {
			t.Errorf("it ran %v, and warned %d times", ran, warned)
		}
		if len(img.Index) != 2 || strings.Join(img.Names, " ") != "localhost/multi:latest localhost/more:2" {
			t.Fatalf("got %+v", img)
		}
		once := map[string]bool{}
		each := map[string]bool{}
		for i, platform := range twoPlatforms {
			d, err := b.InspectFor(t.Context(), "multi", platform)
			if err != nil || d.Digest != img.Index[i].Digest || d.Config.Labels["for"] != platform || d.OS+"/"+d.Architecture != platform {
				t.Errorf("%s: got %+v, %v", platform, d, err)
			}
			once[content(t, b, platform, "/once")] = true
			each[content(t, b, platform, "/each")] = true
		}
		if len(once) != 1 || len(each) != 2 || once[before] {
			t.Errorf("got %v and %v after %s", once, each, before)
		}
		before = content(t, b, twoPlatforms[0], "/once")
	}
}

func content(t *testing.T, b *builder.Builder, platform, name string) string {
	t.Helper()
	s, err := b.Stage(t.Context(), "multi", builder.StageOptions{Platform: platform, Pull: "never"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	text, err := s.ReadFile(t.Context(), name, 100)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestPlatformFails: the first error ends the builds for all platforms, and says for which it is.
func TestPlatformFails(t *testing.T) {
	t.Parallel()
	b := open(t)
	dir, text := shells(t)
	text += "ARG TARGETARCH\nRUN if test $TARGETARCH = riscv64; then exit 7; else sleep 100; fi\n"
	_, err := dockerfile.Build(t.Context(), b, dockerfile.Options{
		Context: dockerfile.Context{Dir: dir}, File: dockerfile.File{Text: strings.NewReader(text)},
		Platforms: twoPlatforms, Steps: dockerfile.Steps{Jobs: 2}, Image: dockerfile.Image{Names: []string{"fails"}},
	})
	var exit *builder.ExitError
	var located *dockerfile.Error
	if !errors.As(err, &exit) || exit.Code != 7 || !errors.As(err, &located) || located.Line != 6 || !strings.Contains(err.Error(), "for linux/riscv64: ") {
		t.Errorf("got %v", err)
	}
	if all, err := b.Images(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("got %+v, %v", all, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = dockerfile.Build(ctx, b, dockerfile.Options{Context: dockerfile.Context{Dir: dir}, File: dockerfile.File{Text: strings.NewReader(text)}, Platforms: twoPlatforms})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestMultiPlatformArgument: an index can have one image.
func TestMultiPlatformArgument(t *testing.T) {
	t.Parallel()
	b := open(t)
	for value, want := range map[string]int{"1": 1, "true": 1, "0": 0, "": 0} {
		img, err := dockerfile.Build(t.Context(), b, dockerfile.Options{
			Context: dockerfile.Context{Dir: t.TempDir()}, File: dockerfile.File{Text: strings.NewReader("FROM scratch\nLABEL a=b\n")},
			BuildArgs: map[string]*string{"BUILDKIT_MULTI_PLATFORM": &value},
		})
		if err != nil || len(img.Index) != want {
			t.Errorf("%q: got %+v, %v", value, img, err)
		}
		if want == 1 && img.Index[0].Platform.Architecture != runtime.GOARCH {
			t.Errorf("got %+v", img.Index[0])
		}
	}
}

// TestCheckPlatforms: what is wrong on one platform is found, and what is on all once.
func TestCheckPlatforms(t *testing.T) {
	t.Parallel()
	report, err := dockerfile.Check(t.Context(), dockerfile.Options{
		Context: dockerfile.Context{Dir: t.TempDir()}, File: dockerfile.File{Text: strings.NewReader("FROM arm64v8/x\nMAINTAINER me\nFROM riscv64/x AS b\n")},
		Platforms: []string{"linux/arm64", "linux/riscv64"},
	})
	var got []string
	for _, f := range report.Findings {
		got = append(got, f.Rule)
	}
	if want := "InvalidBaseImagePlatform MaintainerDeprecated InvalidBaseImagePlatform"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("got %v, %v", got, err)
	}
}
