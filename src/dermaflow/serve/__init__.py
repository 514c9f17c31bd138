"""The front door: image bytes and patient fields in, an answer with its provenance out.

`inference.answer` is the whole story. `app` puts it behind HTTP, `service` hands that to BentoML,
`predict_folder` runs it over a folder, `champion` knows which bundle answers.
"""
