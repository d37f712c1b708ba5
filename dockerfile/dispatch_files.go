package dockerfile

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// copyFiles does COPY.
func (w *worker) copyFiles(ctx context.Context, c *instructions.CopyCommand, from origin) error {
	if err := plan.CheckFiles(c); err != nil {
		return err
	}
	if c.From == "" {
		from = w.context()
	}
	w.warnOfNoDirectory("COPY", c.SourcesAndDest, c.Location())
	return w.bring(ctx, "COPY", c.SourcesAndDest, files{
		origin: from, parents: c.Parents, link: c.Link,
		exclude: c.ExcludePatterns, chown: c.Chown, chmod: c.Chmod,
	})
}

// addFiles does ADD.
func (w *worker) addFiles(ctx context.Context, c *instructions.AddCommand) error {
	if err := plan.CheckFiles(c); err != nil {
		return err
	}
	w.warnOfNoDirectory("ADD", c.SourcesAndDest, c.Location())
	return w.bring(ctx, "ADD", c.SourcesAndDest, files{
		origin: w.context(),
		unpack: c.Unpack == nil || *c.Unpack, unpackRemote: c.Unpack != nil && *c.Unpack, link: c.Link,
		checksum: c.Checksum, gitOptions: gitOptions{keepGitDir: c.KeepGitDir},
		exclude: c.ExcludePatterns, chown: c.Chown, chmod: c.Chmod,
	})
}

// warnOfNoDirectory warns when the destination of several sources does not end in a slash,
// as the reference wants. It is a directory all the same, as in Buildah; in BuildKit, unless
// one is there, each file replaces the one before.
func (w *worker) warnOfNoDirectory(name string, args instructions.SourcesAndDest, at []parser.Range) {
	several := len(args.SourcePaths)+len(args.SourceContents) > 1
	if several && len(at) > 0 && !strings.HasSuffix(destination(args.DestPath), "/") {
		w.progress.warn(at[0].Start.Line, fmt.Sprintf("%s of several sources: the destination is a directory and should end in a slash: %s/", name, args.DestPath))
	}
}

// context is the build context. Its files belong to root, whatever an archive says.
func (w *worker) context() origin {
	return origin{from: w.src.context, dir: w.opts.ContextDir, ignore: w.src.ignore, ownedByRoot: w.src.context != nil}
}

// bring completes f from an instruction's arguments, and copies.
func (w *worker) bring(ctx context.Context, name string, args instructions.SourcesAndDest, f files) error {
	f.dest = destination(args.DestPath)
	for what, patterns := range map[string][]string{"": args.SourcePaths, " --exclude": f.exclude} {
		if err := checkPatterns(patterns); err != nil {
			return fmt.Errorf("%s%s: %w", name, what, err)
		}
	}
	text := []string{name}
	if f.parents {
		text = append(text, "--parents")
	}
	if f.chown != "" {
		text = append(text, "--chown="+f.chown)
	}
	if f.chmod != "" {
		text = append(text, "--chmod="+f.chmod)
	}
	for _, src := range args.SourcePaths {
		git, file, err := plan.Remote(src)
		if err != nil {
			return err
		}
		if name == "ADD" && (git || file) {
			from, err := w.opts.remoteFile(ctx, src, git)
			if err != nil {
				return err
			}
			f.remote = append(f.remote, from)
		} else if f.parents {
			f.patterns = append(f.patterns, src) // for "/./" has a meaning in it
		} else {
			f.patterns = append(f.patterns, inRoot(src))
		}
		text = append(text, plan.Redact(src))
	}
	if len(f.patterns) > 0 && f.from == nil && f.dir == "" {
		return fmt.Errorf("%s: there is no build context to take files from", name)
	}
	for _, doc := range args.SourceContents {
		doc.Path = plan.Bytes(doc.Path)
		if doc.Path == "" || doc.Path == "." || doc.Path == ".." || strings.ContainsAny(doc.Path, "/\x00") {
			return fmt.Errorf("%s <<%s: the name of a here-document is a file's name here", name, doc.Path)
		}
		f.inline = append(f.inline, inlineFile{doc.Path, doc.Data})
		text = append(text, "<<"+doc.Path)
	}
	w.fs.Describe(strings.Join(append(text, args.DestPath), " "))
	return w.opts.withheld(ctx, f.remote, w.fs.Bring(ctx, f))
}

// destination gives a directory's destination its slash: "" and "." are the working
// directory.
func destination(dest string) string {
	switch last := dest[strings.LastIndexByte(dest, '/')+1:]; last {
	case ".", "..":
		return dest + "/"
	case "":
		if dest == "" {
			return "./"
		}
	}
	return dest
}

// inRoot makes a source relative to the root of where it is looked up, which it
// cannot leave.
func inRoot(src string) string {
	if rel := strings.TrimPrefix(path.Clean("/"+src), "/"); rel != "" {
		return rel
	}
	return "."
}
