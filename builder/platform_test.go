//go:build linux

package builder_test

import (
	"bytes"
	"encoding/binary"
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
	"github.com/oakum-build/oakum/builder/isolation"
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
		ok(t, errOf(s.Copy(t.Context(), "/", builder.Dir(tree(t, map[string]string{arch: arch})))))
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
	_, err = b.Stage(t.Context(), name, builder.StageOptions{Platform: other, Pull: "never"})
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

// greeting is a program of another machine that prints "hello" and ends with the status 7.
func greeting(platform string) string {
	code := []byte{0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, // mov eax, write; mov edi, 1
		0x48, 0x8d, 0x35, 0x13, 0, 0, 0, // lea rsi, the text
		0xba, 6, 0, 0, 0, 0x0f, 0x05, // mov edx, 6; syscall
		0xb8, 60, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x0f, 0x05} // mov eax, exit; mov edi, 7; syscall
	machine := uint16(62)
	if platform == "linux/arm64" {
		machine, code = 183, nil
		for _, word := range []uint32{
			0xd2800020, 0x100000e1, 0xd28000c2, 0xd2800808, 0xd4000001, // x0 = 1, x1 = the text, x2 = 6, x8 = write, svc
			0xd28000e0, 0xd2800ba8, 0xd4000001} { // x0 = 7, x8 = exit, svc
			code = binary.LittleEndian.AppendUint32(code, word)
		}
	}
	return program(machine, append(code, "hello\n"...))
}

// spinning is one that goes on until it is killed.
func spinning(platform string) string {
	if platform == "linux/arm64" {
		return program(183, []byte{0, 0, 0, 0x14})
	}
	return program(62, []byte{0xeb, 0xfe})
}

// program is one of a machine that has no more than its code.
func program(machine uint16, code []byte) string {
	const origin, header = 0x400000, 64 + 56
	h := make([]byte, header)
	copy(h, "\x7fELF\x02\x01\x01")
	put16, put32 := binary.LittleEndian.PutUint16, binary.LittleEndian.PutUint32
	put16(h[16:], 2) // an executable
	put16(h[18:], machine)
	put32(h[20:], 1)
	put32(h[24:], origin+header) // where it starts
	put32(h[32:], 64)
	for at, n := range map[int]uint16{52: 64, 54: 56, 56: 1} {
		put16(h[at:], n)
	}
	put32(h[64:], 1) // all of it is loaded, to be read and executed
	put32(h[68:], 5)
	put32(h[80:], origin)
	put32(h[88:], origin)
	for _, at := range []int{96, 104} {
		put32(h[at:], uint32(header+len(code)))
	}
	put32(h[112:], 0x10000)
	return string(h) + string(code)
}

// TestRunEmulated: programs of another machine run, those that they start too, and where the
// kernel gives namespaces their own table of interpreters, nothing is seen of it.
func TestRunEmulated(t *testing.T) {
	t.Parallel()
	b := open(t)
	platform, _ := foreign()
	before, _ := os.ReadDir("/proc/sys/fs/binfmt_misc")
	s := stage(t, b, builder.Scratch, builder.StageOptions{Platform: platform})
	// The shell, which is this machine's, starts the other's program.
	shell, err := os.ReadFile(busyboxPath)
	ok(t, err)
	ok(t, errOf(s.Copy(t.Context(), "/bin", builder.Dir(tree(t, map[string]string{"hello": greeting(platform), "endless": spinning(platform), "sh": string(shell), "cmp": string(shell)})).Chmod("755"))))
	for _, sandbox := range []isolation.Sandbox{isolation.Thread, isolation.OCI} {
		var out bytes.Buffer
		_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/hello"}, Stdout: &out, Isolation: isolation.Options{Sandbox: sandbox}})
		var exit *builder.ExitError
		if !errors.As(err, &exit) || exit.Code != 7 || out.String() != "hello\n" {
			t.Errorf("%s: got %v, %q", sandbox, err, out.String())
		}
	}
	for _, args := range [][]string{{"/bin/hello"}, {"/bin/sh", "-c", "/bin/hello; s=$?; for f in /proc/sys/fs/binfmt_misc/*; do test ! -e $f || echo $f; done; exit $s"}} {
		out, err := printed(t, s, args...)
		var exit *builder.ExitError
		if !errors.As(err, &exit) || exit.Code != 7 || exit.Reason != "" || out != "hello\n" {
			t.Errorf("%q: got %v, %q", args, err, out)
		}
	}
	// What the kernel executes in the program's place cannot be written to.
	out, err := printed(t, s, "/bin/sh", "-c", "/bin/endless & while cmp -s /proc/$!/exe /bin/sh; do :; done; : >/proc/$!/exe; kill $!")
	if !strings.Contains(out, "Read-only file system") {
		t.Errorf("got %q, %v", out, err)
	}
	after, _ := os.ReadDir("/proc/sys/fs/binfmt_misc")
	equal(t, fmt.Sprint(after), fmt.Sprint(before))
}

func printed(t *testing.T, s *builder.Stage, args ...string) (string, error) {
	var out bytes.Buffer
	_, err := s.Run(t.Context(), builder.Cmd{Args: args, Stdout: &out, Stderr: &out})
	return out.String(), err
}

// TestRunForeign: a program of another machine that nothing emulates does not start, and the error
// says why.
func TestRunForeign(t *testing.T) {
	t.Parallel()
	b := open(t)
	const platform = "linux/sparc64" // no emulator is looked for
	program := []byte(greeting("linux/amd64"))
	program[18] = 43
	s := stage(t, b, builder.Scratch, builder.StageOptions{Platform: platform})
	ok(t, errOf(s.Copy(t.Context(), "/bin", builder.Dir(tree(t, map[string]string{"sh": string(program)})).Chmod("755"))))
	_, err := s.Run(t.Context(), builder.Cmd{Args: []string{"/bin/sh", "-c", "true"}})
	var exit *builder.ExitError
	want := fmt.Sprintf("exec format error: the image is for %s, not for this machine (linux/%s)", platform, runtime.GOARCH)
	if !errors.As(err, &exit) || exit.Reason != want || exit.Code != 126 {
		t.Errorf("got %v", err)
	}
}
