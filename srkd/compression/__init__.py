"""`srkd compress`: from a slow network and a budget to a fast student. Start reading at `flow`. The other modules:

`request` the options; `job` the state of one compression, which can be resumed; `candidates` possible students and
which of them fit; `measure` what is measured before training; `rounds` training and the choice of the student; `finish`
export, scores and results; `page` report and model card. The photographs are cut by `srkd.data.photos`.
"""
