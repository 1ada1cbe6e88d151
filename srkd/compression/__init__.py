"""`srkd compress`: a slow network and a budget in, a fast student out. Read `flow` first; a file each for the rest:

`request` what was asked for; `stages` what is finished already; `ladder` the students there are; `budget` which of them
fit; `images` crops of the user's photographs; `plan` how the time is shared; `training` the runs; `engines` all that
is asked of `srkd.inference`; `delivery` the files and their scores; `page` report and card.
"""
