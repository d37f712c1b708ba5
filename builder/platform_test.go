//go:build linux

package builder_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/oakum-build/oakum/builder"
)

// foreign is a platform that this machine is not, and the ELF machine of its programs.
func foreign() (platform string, machine byte) {
	if runtime.GOARCH == "arm64" {
		return "linux/amd64", 62
	}
	return "linux/arm64", 183
}

// multi makes a registry with the image multi for this machine and another, each with a
// file of the platform's name, and the image single for the other alone.
func multi(t *testing.T, b *builder.Builder) (address string) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	address = strings.TrimPrefix(server.URL, "http://")
	other, _ := foreign()
	index := imgspec.Index{MediaType: imgspec.MediaTypeImageIndex}
	index.SchemaVersion = 2
	for _, platform := range []string{other, "linux/" + runtime.GOARCH} {
		s := stage(t, b, builder.Scratch, builder.StageOptions{Platform: platform})
		arch := strings.TrimPrefix(platform, "linux/")
		ok(t, s.Copy(t.Context(), "/", builder.Dir(tree(t, map[string]string{arch: arch}))))
		img, err := s.Commit(t.Context(), "", builder.CommitOptions{})
		ok(t, err)
		name := address + "/multi:" + arch
		if platform == other {
			name = address + "/single:1"
			_, err = b.Push(t.Context(), img.ID, address+"/multi:"+arch, builder.PushOptions{})
			ok(t, err)
		}
		sent, err := b.Push(t.Context(), img.ID, name, builder.PushOptions{})
		ok(t, err)
		resp, err := http.Get(server.URL + "/v2/multi/manifests/" + sent.Digest.String())
		ok(t, err)
		raw, err := io.ReadAll(resp.Body)
		ok(t, errors.Join(err, resp.Body.Close()))
		index.Manifests = append(index.Manifests, imgspec.Descriptor{
			MediaType: imgspec.MediaTypeImageManifest, Digest: sent.Digest, Size: int64(len(raw)), Platform: &imgspec.Platform{OS: "linux", Architecture: arch},
		})
	}
	raw, err := json.Marshal(index)
	ok(t, err)
	req, err := http.NewRequest(http.MethodPut, server.URL+"/v2/multi/manifests/latest", bytes.NewReader(raw))
	ok(t, err)
	req.Header.Set("Content-Type", index.MediaType)
	resp, err := http.DefaultClient.Do(req)
	ok(t, err)
	ok(t, resp.Body.Close())
	return address
}

func TestPlatformOfBase(t *testing.T) {
	t.Parallel()
	plain := false
	b := openIn(t, builder.Options{Root: tempDir(t), Registry: builder.Registry{TLSVerify: &plain}})
	address := multi(t, b)
	name := address + "/multi"
	other, _ := foreign()
	host := "linux/" + runtime.GOARCH
	for _, want := range []string{other, host, other, "", host, other} {
		s := stage(t, b, name, builder.StageOptions{Platform: want})
		if want == "" {
			want = host
		}
		equal(t, s.Platform(), want)
		equal(t, names(lastLayer(t, b, s)), strings.TrimPrefix(want, "linux/"))
	}
	// The name is the image's for this machine.
	img, err := b.Inspect(t.Context(), name)
	ok(t, err)
	equal(t, img.Architecture, runtime.GOARCH)
	_, err = b.Stage(t.Context(), name, builder.StageOptions{Platform: other, Pull: builder.PullNever})
	is(t, err, builder.ErrImageNotFound)
	equal(t, err.Error()[strings.Index(err.Error(), "; "):], fmt.Sprintf("; the store has it for %s, not for %s", host, other))

	// An image of one platform is taken as it is, from the registry or the store.
	for _, want := range []string{other, host, ""} {
		equal(t, stage(t, b, address+"/single:1", builder.StageOptions{Platform: want}).Platform(), other)
	}
}

// TestPullPlatform: who asks for a platform gets its image by the name that it asked by.
func TestPullPlatform(t *testing.T) {
	t.Parallel()
	plain := false
	b := openIn(t, builder.Options{Root: tempDir(t), Registry: builder.Registry{TLSVerify: &plain}})
	name := multi(t, b) + "/multi"
	other, _ := foreign()
	for _, want := range []string{other, "", other} {
		img, err := b.Pull(t.Context(), name, builder.PullOptions{Platform: want})
		ok(t, err)
		d, err := b.Inspect(t.Context(), name)
		ok(t, err)
		equal(t, d.ID, img.ID)
		if want == "" {
			want = "linux/" + runtime.GOARCH
		}
		equal(t, "linux/"+d.Architecture, want)
	}
	_, err := b.Pull(t.Context(), name, builder.PullOptions{Platform: "a/b/c/d"})
	is(t, err, builder.ErrInvalid)
}

func TestPlatformOfImage(t *testing.T) {
	t.Parallel()
	b := open(t)
	for text, want := range map[string]string{
		"": runtime.GOARCH, "local": runtime.GOARCH, "linux": runtime.GOARCH, "linux/arm64/v8": "arm64", "arm": "arm v7", "linux/arm/v6": "arm v6", "x86_64": "amd64",
	} {
		s := stage(t, b, builder.Scratch, builder.StageOptions{Platform: text})
		img, err := s.Commit(t.Context(), "localhost/p", builder.CommitOptions{})
		ok(t, err)
		d, err := b.Inspect(t.Context(), img.ID)
		ok(t, err)
		equal(t, strings.TrimSpace(d.Architecture+" "+d.Variant), want)
	}
	s := stage(t, b, builder.Scratch, builder.StageOptions{Platform: "linux/arm/v6"})
	ok(t, s.SetPlatform("linux/riscv64"))
	equal(t, s.Platform(), "linux/riscv64")
	is(t, s.SetPlatform("a/b/c/d"), builder.ErrInvalid)
	_, err := b.Stage(t.Context(), builder.Scratch, builder.StageOptions{Platform: "a/b/c/d"})
	is(t, err, builder.ErrInvalid)
}

// TestRunForeign: a program of another machine does not start, and the error says why.
func TestRunForeign(t *testing.T) {
	t.Parallel()
	b := open(t)
	platform, machine := foreign()
	program, err := os.ReadFile(busyboxPath)
	ok(t, err)
	program[18] = machine
	s := stage(t, b, builder.Scratch, builder.StageOptions{Platform: platform})
	ok(t, s.Copy(t.Context(), "/bin", builder.Dir(tree(t, map[string]string{"sh": string(program)})).Chmod("755")))
	err = s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "true"}})
	var exit *builder.ExitError
	if !errors.As(err, &exit) {
		t.Skipf("this machine runs programs for %s", platform)
	}
	want := fmt.Sprintf("exec format error: the image is for %s, and this machine (linux/%s) has no emulator for it registered (binfmt_misc)", platform, runtime.GOARCH)
	if !strings.HasPrefix(exit.Reason, want) || exit.Code != 126 {
		t.Errorf("got %+v", exit)
	}
}
