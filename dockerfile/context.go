package dockerfile

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// A context that is not a directory of this machine is fetched or unpacked into a stage,
// which COPY and ADD then copy from, as from any other.

// headLength is how many bytes of a stream are looked at to know what it is.
const headLength = 512

// fetched is the name, in the root of a stage, of a context that is one file.
const fetched = "context"

// isRepository says whether a context is a git repository. Only contexts have the
// form github.com/owner/repo.
func isRepository(text string) bool {
	git, _ := builder.IsGit(text)
	return git || strings.HasPrefix(text, "github.com/")
}

// validateContext checks how the context and the Dockerfile are given.
func (o Options) validateContext() error {
	contexts := 0
	for _, given := range []bool{o.ContextDir != "", o.ContextURL != "", o.Context != nil} {
		if given {
			contexts++
		}
	}
	switch ref := o.ContextURL; {
	case contexts == 0 && o.File == "" && o.Dockerfile == nil:
		return errors.New("neither a context nor a Dockerfile is given")
	case contexts > 1:
		return errors.New("several contexts are given")
	case ref == "" || isURL(ref) || strings.HasPrefix(ref, "github.com/"):
		return nil
	case !isRepository(ref):
		return fmt.Errorf("build context %s: %w: it is neither a git repository nor an http or https URL", plan.Redact(ref), builder.ErrInvalid)
	default:
		if _, err := builder.IsGit(ref); err != nil {
			return fmt.Errorf("build context %s: %w", plan.Redact(ref), err)
		}
		return nil
	}
}

// dockerfileName is what a Dockerfile that is no file is called.
func (o Options) dockerfileName() string {
	if o.File == "" {
		return "Dockerfile"
	}
	return o.File
}

// loadSource finds the context and reads the Dockerfiles, wherever they are.
func loadSource(ctx context.Context, lib backend, opts Options) (src source, err error) {
	if isURL(opts.File) && opts.Dockerfile == nil {
		text, err := download(ctx, lib, opts, opts.File)
		if err != nil {
			return source{}, fmt.Errorf("reading the Dockerfile: %w", err)
		}
		opts.Dockerfile = bytes.NewReader(text)
		opts.File = plan.Redact(opts.File)
	}
	switch {
	case opts.Context != nil:
		src, err = streamSource(ctx, lib, opts)
	case opts.ContextURL != "":
		src, err = remoteSource(ctx, lib, opts)
	default:
		src, err = localSource(ctx, lib, opts)
	}
	for _, name := range opts.MoreFiles {
		if err == nil {
			err = src.addFile(ctx, lib, opts, name)
		}
	}
	if err != nil {
		return source{}, errors.Join(err, src.close())
	}
	return src, nil
}

// addFile reads a further Dockerfile: of the web, of a context that was fetched, or of
// this machine.
func (s *source) addFile(ctx context.Context, lib backend, opts Options, name string) error {
	var text []byte
	var err error
	switch {
	case isURL(name):
		text, err = download(ctx, lib, opts, name)
	case s.context != nil:
		_, text, err = tree{lib: lib, stage: s.context}.dockerfile(ctx, name)
	default:
		text, err = tree{lib: lib, dir: opts.ContextDir}.readNamed(ctx, name, foreign.MaxDockerfile)
	}
	if err != nil {
		return readingFault(err)
	}
	return s.add(plan.Redact(name), text)
}

func isURL(text string) bool {
	_, file, _ := plan.Remote(text)
	return file
}

// download gives the text of a Dockerfile of the web.
func download(ctx context.Context, lib backend, opts Options, url string) ([]byte, error) {
	s, err := fetchFile(ctx, lib, opts, url)
	if err != nil {
		return nil, err
	}
	text, err := readFile(ctx, s, fetched, foreign.MaxDockerfile)
	return text, errors.Join(err, s.Close())
}

// fetchFile makes a stage of a file of the web, which is called "context" there.
func fetchFile(ctx context.Context, lib backend, opts Options, url string) (stage, error) {
	from, err := opts.remoteFile(ctx, url, false)
	if err != nil {
		return nil, err
	}
	return intoStage(ctx, lib, files{dest: "/" + fetched, remote: []remoteFile{from}})
}

// intoStage makes a stage of files alone.
func intoStage(ctx context.Context, lib backend, f files) (stage, error) {
	s, err := lib.Stage(ctx, builder.Scratch, builder.StageOptions{Name: "context"})
	if err != nil {
		return nil, err
	}
	s.Describe("context")
	if err := s.Bring(ctx, f); err != nil {
		return nil, errors.Join(fmt.Errorf("build context: %w", err), s.Close())
	}
	return s, nil
}

// remoteSource fetches a context.
func remoteSource(ctx context.Context, lib backend, opts Options) (source, error) {
	s, plainFile, err := fetch(ctx, lib, opts, opts.ContextURL, opts.contextGit())
	if err != nil {
		return source{}, err
	}
	if plainFile { // BuildKit takes it for the Dockerfile
		opts.File = fetched
	}
	src, err := stageSource(ctx, lib, s, opts)
	if plainFile {
		src.name = plan.Redact(opts.ContextURL)
	}
	return src, err
}

// contextGit says how the files of a repository are taken that is the context: as the
// build arguments say, as in BuildKit.
func (o Options) contextGit() gitOptions {
	var git gitOptions
	if keep, err := strconv.ParseBool(o.args()["BUILDKIT_CONTEXT_KEEP_GIT_DIR"]); err == nil && keep {
		git.keepGitDir = &keep
	}
	git.commitTimes = o.args()[epochArg] != ""
	return git
}

// fetch makes a stage of what a reference names: the files of a repository, those of an
// archive, or the file "context" if it is none.
func fetch(ctx context.Context, lib backend, opts Options, ref string, git gitOptions) (s stage, plainFile bool, err error) {
	if isRepository(ref) {
		from, err := opts.remoteFile(ctx, ref, true)
		if err != nil {
			return nil, false, err
		}
		s, err = intoStage(ctx, lib, files{dest: "/", remote: []remoteFile{from}, gitOptions: git})
		return s, false, err
	}
	file, err := fetchFile(ctx, lib, opts, ref)
	if err != nil {
		return nil, false, err
	}
	s, err = unpacked(ctx, lib, file)
	if s == nil && err == nil {
		return file, true, nil
	}
	return s, false, errors.Join(err, file.Close())
}

// unpacked makes a stage of what the file "context" of another holds; nil when it is no
// archive.
func unpacked(ctx context.Context, lib backend, file stage) (stage, error) {
	head, err := file.ReadFile(ctx, fetched, headLength)
	if err != nil || !isArchive(head) {
		return nil, err
	}
	return intoStage(ctx, lib, files{origin: origin{from: file}, dest: "/", patterns: []string{fetched}, unpack: true})
}

// streamSource reads a context, or a Dockerfile without one, from a stream.
func streamSource(ctx context.Context, lib backend, opts Options) (source, error) {
	r := bufio.NewReaderSize(opts.Context, headLength)
	head, err := foreign.Await(ctx, func() ([]byte, error) { return r.Peek(headLength) })
	if err != nil && !errors.Is(err, io.EOF) {
		return source{}, fmt.Errorf("reading the build context: %w", err)
	}
	if !isArchive(head) {
		opts.Dockerfile, opts.Context = r, nil
		return localSource(ctx, lib, opts)
	}
	s, err := intoStage(ctx, lib, files{dest: "/", tar: r})
	if err != nil {
		return source{}, err
	}
	return stageSource(ctx, lib, s, opts)
}

// isArchive tells a tar archive, compressed or not, from a Dockerfile by its start.
func isArchive(head []byte) bool {
	for _, magic := range []string{"\x1f\x8b\x08", "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	if len(head) < headLength {
		return false
	}
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil || len(bytes.Trim(head, "\x00")) == 0
}
