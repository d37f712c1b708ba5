package plan

import (
	"fmt"
	"strconv"
	"time"
)

// epochArg is the argument for reproducible images
// (https://reproducible-builds.org/docs/source-date-epoch/).
const epochArg = "SOURCE_DATE_EPOCH"

// epoch reads the time that SOURCE_DATE_EPOCH gives, in seconds, as a build argument or
// as the default of an ARG in the file's header; nil when it does not. Where BuildKit
// takes the name of a context or stage, it is unsupported.
func (p *Plan) epoch(file *file) error {
	text, given := p.opts.Args[epochArg]
	if !given {
		for _, a := range file.header {
			for _, kv := range a.Args {
				if kv.Key == epochArg {
					text, _ = p.globals.Get(epochArg)
				}
			}
		}
	}
	if text == "" {
		return nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return p.epochFault(file, given, unsupported{fmt.Sprintf("%s=%s, which is not a number of seconds,", epochArg, text)})
	}
	at := time.Unix(seconds, 0).UTC()
	p.Epoch = &at
	return nil
}

// epochFault gives an error the place of the header's ARG, when the value is its own.
func (p *Plan) epochFault(file *file, given bool, err error) error {
	f := &Fault{Err: err}
	for _, a := range file.header {
		for _, kv := range a.Args {
			if kv.Key == epochArg && !given {
				f.Line, f.End = lines(a.Location())
			}
		}
	}
	return f
}
