package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/builder"
)

// epochArg is the argument for reproducible images
// (https://reproducible-builds.org/docs/source-date-epoch/).
const epochArg = "SOURCE_DATE_EPOCH"

// EpochSource is what SOURCE_DATE_EPOCH names when it is no number, as in BuildKit: the
// time of the image is that of a source.
type EpochSource struct {
	Context  string // a key of Options.Contexts; "" for the build context
	Remote   string // or, when not "", what the only ADD of a stage fetches
	Checksum string // of that
}

// epoch reads the time that SOURCE_DATE_EPOCH gives, in seconds or as that of a source:
// as a build argument or as the default of an ARG in the file's header. What a source
// without a time leaves is as if the argument were not given.
func (p *Plan) epoch() error {
	text, given := p.opts.Args[epochArg]
	if at := headerArg(p.file, epochArg); !given && at != nil {
		text, _ = p.globals.Get(epochArg)
	}
	if text == "" {
		return nil
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && seconds >= 0 {
		at := time.Unix(seconds, 0).UTC()
		p.Epoch = &at
		return nil
	}
	source, err := p.epochSource(text)
	if err == nil && p.opts.EpochOf == nil {
		return nil
	}
	if err == nil {
		p.Epoch, err = p.opts.EpochOf(source)
	}
	if err != nil {
		return p.epochFault(given, err)
	}
	p.opts.Args = maps.Clone(p.opts.Args)
	delete(p.opts.Args, epochArg)
	p.globals.unset(epochArg)
	if p.Epoch != nil {
		p.globals.Set(epochArg, strconv.FormatInt(p.Epoch.Unix(), 10))
	}
	return nil
}

// epochSource finds the source of that name.
func (p *Plan) epochSource(name string) (EpochSource, error) {
	if name == "context" {
		return EpochSource{}, nil
	}
	if key, ok := p.contextOf(name, p.platform); ok {
		return EpochSource{Context: key}, nil
	}
	var stages []string
	for _, st := range p.file.stages {
		if !strings.EqualFold(st.Name, name) {
			stages = append(stages, st.Name)
			continue
		}
		source, err := p.epochStage(st.Stage)
		if err != nil {
			first, last := lines(st.Location)
			return source, &Fault{Line: first, End: last, Err: fmt.Errorf("%s=%s: %w", epochArg, name, err)}
		}
		return source, nil
	}
	f := fault(0, 0, "%s=%s is neither a number of seconds nor the name of a context or a stage", epochArg, name)
	f.Hint = didYouMean(name, slices.Concat(stages, slices.Collect(maps.Keys(p.opts.Contexts)), []string{"context"}))
	return EpochSource{}, f
}

// epochStage reads a stage that does nothing but fetch a source.
func (p *Plan) epochStage(st *instructions.Stage) (EpochSource, error) {
	var source EpochSource
	known, lex := p.globals.clone(), p.lexer()
	known.unset(epochArg)
	base, _, err := lex.ProcessWord(st.BaseName, known)
	if err != nil {
		return source, err
	}
	if base != builder.Scratch {
		return source, errors.New("the stage must start FROM scratch")
	}
	for _, c := range st.Commands {
		switch c := c.(type) {
		case *instructions.ArgCommand:
			_, err = p.headerArgs(known, []instructions.ArgCommand{*c}, p.opts.Args)
		case *instructions.AddCommand:
			if source.Remote != "" || len(c.SourcePaths) != 1 || len(c.SourceContents) > 0 {
				return source, errors.New("the stage must ADD one URL or git repository")
			}
			if source.Remote, _, err = lex.ProcessWord(c.SourcePaths[0], known); err == nil {
				source.Checksum, _, err = lex.ProcessWord(c.Checksum, known)
			}
			if err == nil {
				err = checkRemote(source.Remote, source.Checksum)
			}
		default:
			return source, fmt.Errorf("the stage may have ARG and one ADD, but not %s", strings.ToUpper(c.Name()))
		}
		if err != nil {
			return source, err
		}
	}
	if !isRemote(source.Remote) {
		return source, errors.New("the stage must ADD a URL or a git repository")
	}
	return source, nil
}

// headerArg finds the last ARG of the header that names an argument; nil without.
func headerArg(file *File, name string) (found *instructions.ArgCommand) {
	for i := range file.header {
		for _, kv := range file.header[i].Args {
			if kv.Key == name {
				found = &file.header[i]
			}
		}
	}
	return found
}

// epochFault gives an error the place of the header's ARG, when the value is its own and
// the error has none.
func (p *Plan) epochFault(given bool, err error) error {
	var f *Fault
	if !errors.As(err, &f) {
		f = &Fault{Err: fmt.Errorf("%s: %w", epochArg, err)}
	}
	if at := headerArg(p.file, epochArg); at != nil && !given && f.Line == 0 {
		f.Line, f.End = lines(at.Location())
	}
	return f
}
