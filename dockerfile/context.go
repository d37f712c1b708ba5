package dockerfile

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// A context that is not a directory of this machine is fetched or unpacked into a stage,
// which COPY and ADD then copy from, as from any other.

// The bounds of what is read of a context, in bytes.
const (
	maxDockerfile = 16 << 20
	maxIgnoreFile = 1 << 20
	headLength    = 512 // of a stream, to know what it is
)

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
		src, err = readSource(opts)
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
		if text, err = readFile(ctx, s.context, path.Clean("/"+name), maxDockerfile); errors.Is(err, builder.ErrNotFound) {
			err = fmt.Errorf("no %s in the build context: %w", name, fs.ErrNotExist)
		}
	default:
		text, err = readLocal(name)
	}
	if err != nil {
		return fmt.Errorf("reading the Dockerfile: %w", err)
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
	text, err := readFile(ctx, s, fetched, maxDockerfile)
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
	src, err := stageSource(ctx, s, opts)
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
	head, err := r.Peek(headLength)
	if err != nil && !errors.Is(err, io.EOF) {
		return source{}, fmt.Errorf("reading the build context: %w", err)
	}
	if !isArchive(head) {
		opts.Dockerfile, opts.Context = r, nil
		return readSource(opts)
	}
	s, err := intoStage(ctx, lib, files{dest: "/", tar: r})
	if err != nil {
		return source{}, err
	}
	return stageSource(ctx, s, opts)
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

// stageSource reads the Dockerfile of a context that is a stage, which the source has on
// an error, too.
func stageSource(ctx context.Context, s stage, opts Options) (src source, err error) {
	src = source{name: opts.File, context: s}
	if opts.Dockerfile != nil {
		src.name = opts.dockerfileName()
		src.text, err = readText(opts.Dockerfile)
	} else {
		err = src.findIn(ctx, s)
	}
	if err != nil {
		return src, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	if opts.IgnoreFile != "" {
		src.ignore, err = readIgnore(".", "", opts.IgnoreFile)
		return src, err
	}
	for _, name := range []string{src.name + ".containerignore", src.name + ".dockerignore", ".containerignore", ".dockerignore"} {
		text, err := readFile(ctx, s, name, maxIgnoreFile)
		if errors.Is(err, builder.ErrNotFound) {
			continue
		}
		if err != nil {
			return src, fmt.Errorf("reading the ignore file: %w", err)
		}
		src.ignore, err = parseIgnore(name, text)
		return src, err
	}
	return src, nil
}

// findIn reads the Dockerfile that the name says, or the first that a context has.
func (s *source) findIn(ctx context.Context, in stage) error {
	names := defaultNames
	if s.name != "" {
		names = []string{s.name}
	}
	var err error
	for _, name := range names {
		if s.text, err = readFile(ctx, in, path.Clean("/"+name), maxDockerfile); !errors.Is(err, builder.ErrNotFound) {
			s.name = name
			return err
		}
	}
	return fmt.Errorf("no %s in the build context: %w", strings.Join(names, ", "), fs.ErrNotExist)
}

// readFile reads a whole file of a stage.
func readFile(ctx context.Context, s stage, name string, max int) ([]byte, error) {
	text, err := s.ReadFile(ctx, name, max+1)
	if err == nil && len(text) > max {
		err = fmt.Errorf("%w: %s is larger than %d bytes", builder.ErrInvalid, name, max)
	}
	return text, err
}

// readLocal reads a Dockerfile of this machine.
func readLocal(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := readText(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

// readText reads a Dockerfile from a stream.
func readText(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxDockerfile+1))
	if err == nil && len(text) > maxDockerfile {
		err = fmt.Errorf("%w: it is larger than %d bytes", builder.ErrInvalid, maxDockerfile)
	}
	return text, err
}

func parseIgnore(name string, text []byte) ([]string, error) {
	patterns, err := ignorefile.ReadAll(bytes.NewReader(text))
	if err == nil {
		_, err = patternmatcher.New(patterns)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return patterns, nil
}
