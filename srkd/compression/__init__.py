"""`srkd compress`: from a slow network and a budget to a fast student. Start reading at `flow`. The other modules:

`request` the user's options; `settings` internal sizes; `phases` resuming; `ladder` the candidate students; `budget`
which candidates fit; `images` crops of the user's photographs; `plan` the time schedule; `training` the training runs;
`engines` the interface to `srkd.inference`; `delivery` exported files and scores; `page` report and model card.
"""
