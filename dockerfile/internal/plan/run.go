package plan

import (
	"errors"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Shell is what runs shell forms unless SHELL says otherwise (Dockerfile
// reference, SHELL).
func Shell(configured []string) []string {
	if len(configured) > 0 {
		return configured
	}
	return []string{"/bin/sh", "-c"}
}

// Args gives the arguments of a CMD or ENTRYPOINT: those of the exec form, or the
// shell with the line of the shell form.
func Args(line instructions.ShellDependantCmdLine, shell []string) []string {
	if !line.PrependShell {
		return line.CmdLine
	}
	args := append([]string{}, Shell(shell)...)
	return append(args, strings.Join(line.CmdLine, " "))
}

// RunArgs gives the arguments of a RUN, whose here-documents become part of what
// the shell reads. A document that names its interpreter is unsupported.
func RunArgs(c *instructions.RunCommand, shell []string) ([]string, error) {
	line := c.ShellDependantCmdLine
	if !line.PrependShell && (len(line.CmdLine) == 0 || line.CmdLine[0] == "") {
		return nil, errors.New("RUN without a command")
	}
	if len(line.Files) == 0 {
		return Args(line, shell), nil
	}
	script, err := heredocScript(line)
	if err != nil {
		return nil, err
	}
	line.CmdLine = []string{script}
	return Args(line, shell), nil
}

// heredocScript is what the shell gets for a RUN with here-documents: the document
// when the line is nothing else, otherwise the line and the documents, for the
// shell to read as its own.
func heredocScript(line instructions.ShellDependantCmdLine) (string, error) {
	text := strings.Join(line.CmdLine, " ")
	if parser.MustParseHeredoc(text) != nil {
		script := line.Files[0].Data
		if line.Files[0].Chomp {
			script = parser.ChompHeredocContent(script)
		}
		if strings.HasPrefix(script, "#!") {
			return "", unsupported{"RUN with a here-document that starts with #!"}
		}
		return script, nil
	}
	var script strings.Builder
	script.WriteString(text)
	for _, f := range line.Files {
		script.WriteString("\n" + f.Data + f.Name)
	}
	return script.String(), nil
}
