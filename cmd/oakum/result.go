package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
)

// results are the files that a build writes of itself; "" is none.
type results struct {
	iidFile, metadataFile, logFile string
}

func resultFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "iidfile", Usage: "write the image id, as sha256:ID, to `FILE`"},
		&cli.StringFlag{Name: "metadata-file", Usage: "write the image's digests and names to `FILE`, as JSON with the keys of docker buildx"},
		&cli.StringFlag{Name: "logfile", Usage: "write the progress to `FILE` instead of standard error"},
	}
}

func readResults(c *cli.Context) results {
	return results{iidFile: c.String("iidfile"), metadataFile: c.String("metadata-file"), logFile: c.String("logfile")}
}

// openLog gives the writer of the progress, and what closes it.
func (r results) openLog(standard io.Writer) (io.Writer, func() error, error) {
	if r.logFile == "" {
		return standard, func() error { return nil }, nil
	}
	f, err := os.Create(r.logFile)
	if err != nil {
		return nil, nil, fmt.Errorf("--logfile: %w", err)
	}
	return f, f.Close, nil
}

// write writes what is known of an image when it is built.
func (r results) write(img builder.Image) error {
	if r.iidFile != "" {
		if err := os.WriteFile(r.iidFile, []byte("sha256:"+img.ID), 0o666); err != nil {
			return fmt.Errorf("--iidfile: %w", err)
		}
	}
	if r.metadataFile == "" {
		return nil
	}
	metadata := map[string]string{
		"containerimage.config.digest": "sha256:" + img.ID,
		"containerimage.digest":        img.Digest.String(),
	}
	if len(img.Names) > 0 {
		metadata["image.name"] = strings.Join(img.Names, ",")
	}
	text, err := json.MarshalIndent(metadata, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.metadataFile, text, 0o666); err != nil {
		return fmt.Errorf("--metadata-file: %w", err)
	}
	return nil
}
